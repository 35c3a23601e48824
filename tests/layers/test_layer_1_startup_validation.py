"""Layer 1 alone: vetting, and the pool that dials what was vetted. No proxy, no listener."""

from __future__ import annotations

import socket

import pytest

from aegis.net.deadlines import Deadlines
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import VettingError, vet
from tests.support.aegis_process import refuses, run_aegis
from tests.support.ports import free_port
from tests.support.scripted_backend import ScriptedBackend


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def names(*hosts):
    """A resolver that finds these addresses under every name."""
    return lambda name, port: [(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in hosts]


def nobody(name, port):
    raise AssertionError(f"{name} was resolved")


BAD = [
    *("127.0.0.1", "127.255.255.254", "::1", "169.254.1.1", "169.254.169.254", "fe80::1", "10.0.0.1", "172.16.0.1"),
    *(
        "172.31.255.255",
        "192.168.0.1",
        "fc00::1",
        "fd00:ec2::254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "0.1.2.3",
    ),
    *("::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1"),
]


@pytest.mark.parametrize("address", BAD)
def test_a_name_that_leads_to_a_forbidden_address_is_refused_as_is_the_address_itself(address):
    with pytest.raises(VettingError):
        vet("backend.test", 80, names(address), allow_loopback=False, networks=())
    with pytest.raises(VettingError):
        vet(address, 80, nobody, allow_loopback=False, networks=())


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "017700000001"])
def test_an_address_in_disguise_is_refused_before_anybody_resolves_it(host):
    with pytest.raises(VettingError):
        vet(host, 80, nobody, allow_loopback=True, networks=())


@pytest.mark.parametrize("order", [1, -1])
def test_one_bad_address_among_good_ones_refuses_the_name(order):
    with pytest.raises(VettingError):
        vet("b.test", 80, names(*["93.184.216.34", "10.0.0.1"][::order]), allow_loopback=False, networks=())


def test_a_name_that_does_not_resolve_is_fatal():
    def fails(name, port):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(VettingError, match="does not resolve"):
        vet("b.test", 80, fails, allow_loopback=False, networks=())


def test_metadata_is_refused_whatever_is_opened():
    from ipaddress import ip_network

    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    for address in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"):
        with pytest.raises(VettingError, match="metadata"):
            vet(address, 80, nobody, allow_loopback=True, networks=everything)


def test_connections_go_to_the_vetted_address_whatever_the_resolver_says_later(backend, monkeypatch):
    host, port = backend.address
    addresses = vet("b.test", port, names(host), allow_loopback=True, networks=())

    def rebound(*_args, **_kwargs):
        raise AssertionError("a connect asked a resolver")

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    dial = DialSettings(addresses, 5.0, Deadlines())
    pool = open_pool(f"http://b.test:{port}", dial, max_idle=1, idle_timeout=60.0)
    try:
        connection = pool.take_fresh()
        stream = connection.open()
        assert stream.sock.getpeername() == backend.address
        stream.send_all(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", 5)
        assert stream.read_some(100).startswith(b"HTTP/1.1 200")
        pool.discard(connection)
    finally:
        pool.close()


def test_a_refused_backend_is_never_called_and_no_port_is_opened(backend, tmp_path):
    address = free_port()
    path = tmp_path / "aegis.yml"
    path.write_text(
        f"server: {{host: {address[0]}, port: {address[1]}}}\nbackends: [{{url: '{backend.url}', weight: 1}}]\n"
    )
    result = run_aegis("--config", str(path), "--headless")
    assert result.returncode == 2
    assert "loopback" in result.stderr
    assert "development.allow_loopback_backends" in result.stderr
    assert refuses(address)
    assert backend.connections == []
