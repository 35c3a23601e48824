import socket
from ipaddress import ip_network

import pytest

from aegis.transport.resolver import Address, VettingError, system_resolve, vet

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def scripted(*addresses):
    return lambda host, port: [(V6 if ":" in address else V4, address) for address in addresses]


def never(host, port):
    raise AssertionError("nothing is to be resolved")


def failing(error):
    def resolve(host, port):
        raise error

    return resolve


def vetted(host, resolve, *, port=80, allow_loopback=False, networks=()):
    return vet(host, port, resolve, allow_loopback=allow_loopback, networks=[ip_network(cidr) for cidr in networks])


def refusal(host, resolve, **opened):
    with pytest.raises(VettingError) as caught:
        vetted(host, resolve, **opened)
    return caught.value


def test_addresses_come_in_resolver_order_each_once():
    resolve = scripted("2606:4700::1", "8.8.8.8", "1.1.1.1", "8.8.8.8", "2606:4700::1")
    addresses = vetted("a.example", resolve, port=81)
    assert addresses == (("2606:4700::1", 81), ("8.8.8.8", 81), ("1.1.1.1", 81))
    assert [str(address) for address in addresses] == ["[2606:4700::1]:81", "8.8.8.8:81", "1.1.1.1:81"]


def test_the_resolver_gets_host_and_port():
    asked = []
    vetted("a.example", lambda *question: asked.append(question) or [(V4, "8.8.8.8")], port=81)
    assert asked == [("a.example", 81)]


@pytest.mark.parametrize(("host", "address"), [("8.8.8.8", "8.8.8.8"), ("2606:4700::1", "2606:4700::1")])
def test_an_address_is_not_resolved(host, address):
    assert vetted(host, never) == (Address(address, 80),)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_refused_if_any_resolved_address_is_bad(place):
    addresses = ["8.8.8.8", "1.1.1.1"]
    addresses.insert(place, "10.0.0.5")
    error = refusal("db.example", scripted(*addresses))
    assert str(error) == (
        "host db.example resolves to 10.0.0.5, which is private (10.0.0.0/8); "
        "if that is meant, set security.allowed_backend_networks: [10.0.0.5/32]"
    )
    assert error.unresolved is False


@pytest.mark.parametrize(
    ("host", "rule", "key"),
    [
        ("127.0.0.1", "loopback (127.0.0.0/8)", "development.allow_loopback_backends: true"),
        ("10.0.0.5", "private (10.0.0.0/8)", "security.allowed_backend_networks: [10.0.0.5/32]"),
        ("fd00::5", "private (fc00::/7)", "security.allowed_backend_networks: [fd00::5/128]"),
        (
            "64:ff9b::a00:5",
            "NAT64 for 10.0.0.5, private (10.0.0.0/8)",
            "security.allowed_backend_networks: [64:ff9b::a00:5/128]",
        ),
    ],
)
def test_a_refusal_names_the_address_the_rule_and_the_key_that_would_open_it(host, rule, key):
    assert str(refusal(host, never)) == f"host {host} is {rule}; if that is meant, set {key}"


@pytest.mark.parametrize(("host", "rule"), [("169.254.169.254", "metadata service"), ("127.1", "resolvers disagree")])
def test_a_refusal_that_nothing_opens_names_no_key(host, rule):
    message = str(refusal(host, never, allow_loopback=True, networks=["0.0.0.0/0"]))
    assert rule in message
    assert "set " not in message.replace("no setting opens", "")


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "fd00::5", "64:ff9b::a00:5", "2002:a00:5::", "::ffff:10.0.0.5", "224.0.0.1", "4000::1"]
)
def test_what_a_refusal_says_to_set_opens_the_address(host):
    cidr = str(refusal(host, never)).rpartition("[")[2].rstrip("]")
    assert vetted(host, never, networks=[cidr]) == (Address(host, 80),)


def test_the_switches_open_what_they_name():
    assert vetted("localhost", scripted("::1", "127.0.0.1"), allow_loopback=True) == (("::1", 80), ("127.0.0.1", 80))
    assert vetted("db", scripted("10.0.0.5"), networks=["10.0.0.0/8"]) == (("10.0.0.5", 80),)
    assert "private" in str(refusal("db", scripted("127.0.0.1", "10.0.0.5"), allow_loopback=True))
    assert "metadata" in str(refusal("db", scripted("169.254.169.254"), allow_loopback=True, networks=["0.0.0.0/0"]))


@pytest.mark.parametrize(
    ("resolve", "message"),
    [
        (scripted(), "host a.example does not resolve to any address"),
        (
            failing(socket.gaierror(-2, "no such name")),
            "host a.example does not resolve: no such name",
        ),
        (failing(TimeoutError("timed out")), "host a.example does not resolve: timed out"),
        (failing(UnicodeError("label too long")), "host a.example does not resolve: label too long"),
    ],
)
def test_unresolvable_is_an_error_and_told_from_a_refusal(resolve, message):
    error = refusal("a.example", resolve)
    assert str(error) == message
    assert error.unresolved is True


def test_a_bug_in_the_resolver_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        vetted("a.example", failing(ZeroDivisionError()))


def test_the_system_resolver_knows_localhost_and_asks_libc_itself(monkeypatch):
    def patched(*args, **kwargs):
        raise AssertionError("this one needs a running loop")

    monkeypatch.setattr(socket, "getaddrinfo", patched)
    found = system_resolve("localhost", 80)
    assert set(found) <= {(V4, "127.0.0.1"), (V6, "::1")}
    assert found


def test_the_system_resolver_fails_as_libc_does():
    with pytest.raises(OSError):
        system_resolve("name.invalid", 80)
