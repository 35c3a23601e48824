import socket
from ipaddress import ip_network

import pytest

from aegis.wire.server import is_member, open_listener
from tests.support.ports import free_port, loopback_host
from tests.support.raw_client import RawClient


def test_accepted_sockets_inherit_what_the_listener_was_given():
    with open_listener(loopback_host(), 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listener.getsockname()):
            listener.setblocking(True)
            listener.settimeout(5)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 128 * 1024


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open():
    host, port = free_port()
    with open_listener(host, port), pytest.raises(OSError, match="in use"):
        open_listener(host, port)


@pytest.mark.parametrize(
    ("address", "networks", "member"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("10.1.2.3", [], False),
        ("10.1.2.3", ["192.168.0.0/16", "10.1.2.3/32"], True),
        ("2001:db8::5", ["2001:db8::/32"], True),
        ("2001:db9::5", ["2001:db8::/32"], False),
        ("10.1.2.3", ["::/0"], False),
        ("::1", ["0.0.0.0/0"], False),
    ],
)
def test_an_address_is_a_member_of_the_listed_networks_only(address, networks, member):
    assert is_member(address, [ip_network(network) for network in networks]) is member


@pytest.mark.parametrize(("networks", "trusted"), [([], False), (["127.0.0.0/8"], True), (["10.0.0.0/8"], False)])
def test_a_peer_is_trusted_when_its_tcp_address_is_listed(serve, networks, trusted):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [repr(environ["aegis.request"].peer).encode()]

    client = serve(app, trusted_proxies=[ip_network(network) for network in networks])()
    body = client.get("/", [("X-Forwarded-For", "10.0.0.1")]).body
    assert (b"trusted" in body) is trusted
    assert body.startswith(b"<Peer 127.")
    assert b".x.x" in body


def test_a_dual_stack_listener_sees_ipv4_peers_mapped():
    try:
        listener = open_listener("::", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        with RawClient(("127.0.0.1", listener.getsockname()[1])):
            listener.settimeout(5)
            accepted, address = listener.accept()
            accepted.close()
        assert address[0] == "::ffff:127.0.0.1"  # which is why peers are unmapped
