import os
import socket
from ipaddress import ip_network

import pytest

from aegis.wire.server import is_member, open_listener
from tests.support.descriptors import none_left
from tests.support.poll import eventually
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


# no descriptor left


def answering(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def test_without_a_descriptor_the_connection_idle_longest_gives_its_own_up(serve):
    connect = serve(answering)
    idle = connect()
    assert idle.get("/").body == b"hello"
    with none_left(but=1):
        assert connect().get("/").body == b"hello"
    assert idle.ends_silently()
    assert connect.server.evicted == 1


def test_without_an_idle_one_others_are_asked_for_theirs(serve):
    connect = serve(answering)
    parked = [os.open(os.devnull, os.O_RDONLY)]
    connect.server.make_room = lambda: bool(parked) and os.close(parked.pop()) is None
    with none_left(but=1):
        assert connect().get("/").body == b"hello"
    assert parked == []


def test_where_nobody_has_one_to_give_accepting_pauses_and_says_so(serve, caplog):
    connect = serve(answering)
    with none_left(but=1):
        waiting = connect(timeout=10)
        waiting.request("GET", "/")
        eventually(lambda: "accepting pauses" in caplog.text, "the log line")
        assert connect.server.open == 0
    assert waiting.read_response().body == b"hello"
    assert caplog.text.count("accepting pauses") == 1


def test_an_error_that_is_no_shortage_is_left_to_gevent(serve):
    server = serve(answering).server
    server.stop_accepting()
    server.socket.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        server.do_read()
