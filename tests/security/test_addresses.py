from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.security.addresses import METADATA, disguised_host, examine, networks_opened_for

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def verdict(address, allow_loopback, networks):
    """None, or the words why a backend may not lie there."""
    finding = examine(address, allow_loopback=allow_loopback, networks=networks)
    return finding and finding.words


def v4(text):
    return int(IPv4Address(text))


def disguises(text):
    """An IPv4 address in every IPv6 form that a kernel, translator or tunnel unwraps."""
    number = v4(text)
    high, low = number >> 16, number & 0xFFFF
    return [
        f"::ffff:{text}",
        f"::ffff:{high:x}:{low:x}",
        f"::ffff:0:{text}",
        f"::{text}",
        f"2002:{high:x}:{low:x}::1",
        f"64:ff9b::{text}",
        f"64:ff9b:1::{text}",
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",  # /48, bits 64 to 71 left out
        f"2001:0:{high:x}:{low:x}::ffff:ffff",  # a Teredo server
        f"2001:0:808:808::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",  # a Teredo client
    ]


def stands_for(address):
    """The address itself, and every IPv4 address that a kernel, translator or tunnel finds in it."""
    found = [address]
    if address.version == 6:
        bits, short = address.packed, address.packed[:8] + address.packed[9:]  # RFC 6052 leaves out bits 64 to 71
        found += filter(None, (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())))
        if any(address in ip_network(prefix) for prefix in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")):
            found.append(IPv4Address(bits[12:]))
        if address in ip_network("64:ff9b:1::/48"):
            found += map(IPv4Address, (short[6:10], short[7:11], short[8:12], bits[12:]))
    return found


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"],
)
def test_public_addresses_are_fine(address):
    assert verdict(address, False, ()) is None


@pytest.mark.parametrize("address", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_a_public_address_in_another_form_is_fine_too(address):
    assert verdict(address, False, ()) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("169.254.0.1", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("100.127.255.255", "carrier-grade NAT"),
        ("0.0.0.0", "this network"),
        ("0.255.0.1", "this network"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("192.0.0.1", "reserved"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("198.18.0.1", "benchmarks"),
        ("192.88.99.1", "6to4 relay"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2001:2::1", "reserved"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
        ("fec0::1", "site-local"),
        ("64:ff9b:1::808:808", "local-use NAT64"),
        ("2001::1", "Teredo"),
        ("localhost", "not an IP address"),
        ("", "not an IP address"),
        ("8.8.8.8%1", "not an IP address"),
        ("0177.0.0.1", "not an IP address"),
    ],
)
def test_special_addresses_are_refused(address, words):
    assert words in verdict(address, False, ())


@pytest.mark.parametrize(
    "inside", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.1", "224.0.0.1"]
)
def test_special_addresses_are_refused_in_every_disguise(inside):
    for address in disguises(inside):
        assert verdict(address, False, ()), address


@pytest.mark.parametrize("inside", sorted(map(str, METADATA)))
def test_metadata_is_refused_whatever_is_opened_also_in_disguise(inside):
    for address in [inside, *(disguises(inside) if "." in inside else [f"{inside}%eth0"])]:
        assert "metadata" in verdict(address, True, (*EVERYTHING, ip_network(f"{inside}"))), address


def test_the_metadata_addresses_of_the_specification_are_known():
    assert {"169.254.169.254", "fd00:ec2::254", "100.100.100.200"} <= set(map(str, METADATA))


def test_nat64_of_the_local_prefix_is_unwrapped_at_every_length():
    number = v4("169.254.169.254")
    prefix = int(IPv6Address("64:ff9b:1::"))
    for address in (
        prefix | (number >> 16) << 64 | (number & 0xFFFF) << 40,  # /48
        prefix | (number >> 24) << 64 | (number & 0xFF_FFFF) << 32,  # /56
        prefix | number << 24,  # /64
        prefix | number,  # /96
    ):
        assert "metadata" in verdict(str(IPv6Address(address)), True, EVERYTHING)


def test_the_loopback_switch_opens_loopback_only():
    for address in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"):
        assert verdict(address, True, ()) is None
    for address in (
        "10.0.0.1",
        "169.254.0.1",
        "0.0.0.0",
        "::",
        "fe80::1",
        "fd00::1",
        "2002:7f00:1::",
        "64:ff9b::127.0.0.1",
    ):
        assert verdict(address, True, ()), address


def test_listed_networks_open_what_lies_in_them_and_nothing_else():
    networks = (ip_network("10.0.0.0/16"), ip_network("fd00:1::/32"), ip_network("127.0.0.1/32"))
    for address in ("10.0.255.1", "fd00:1::5", "127.0.0.1", "::ffff:10.0.0.1"):
        assert verdict(address, False, networks) is None
    for address in ("10.1.0.1", "fd00:2::5", "127.0.0.2", "192.168.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::"):
        assert verdict(address, False, networks), address


def test_every_form_but_metadata_can_be_opened():
    for address in (
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "169.254.1.1",
        "fe80::1%eth0",
        "224.0.0.1",
        "64:ff9b:1::1",
        "100.64.0.1",
    ):
        assert verdict(address, False, EVERYTHING) is None


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "256.0.0.1",
        "999999999999",
        "1.",
        "0",
        "0x",
        "name.1",
        "name.0x1",
        "1..1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①.com",
        "::g",
        "[::g]",
        "1:2",
    ],
)
def test_a_host_on_which_resolvers_disagree_is_refused_before_resolving(host):
    assert disguised_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "8.8.8.8",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "localhost",
        "a.example",
        "a.example.",
        "1.example",
        "a1",
        "0x7f.example",
        "10.0.0.1.example",
        "123abc",
        "xn--bcher-kva.example",
    ],
)
def test_names_and_plain_addresses_are_not_disguised(host):
    assert disguised_host(host) is None


def test_only_loopback_and_private_addresses_are_opened_for_the_command_line():
    addresses = [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fd00::1",
        "8.8.8.8",
        "169.254.169.254",
        "fe80::1%eth0",
        "0.0.0.0",
    ]
    opened = networks_opened_for(addresses)
    assert opened == ("127.0.0.1/32", "::1/128", "10.0.0.1/32", "fd00::1/128")
    networks = [ip_network(cidr) for cidr in opened]
    assert [verdict(address, False, networks) for address in addresses[:6]] == [None] * 6
    assert verdict("fd00:ec2::254", False, [ip_network(cidr) for cidr in networks_opened_for(["fd00:ec2::254"])])


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_it_is(address):
    assert verdict(f"::ffff:{address}", False, ()) == verdict(str(address), False, ())


@settings(deadline=None)
@given(st.ip_addresses())
def test_nothing_that_python_calls_not_global_passes(address):
    # Python calls all of 2002::/16 not global; a 6to4 address is as public as the IPv4 one it tunnels to.
    inside = address.version == 6 and (address.ipv4_mapped or address.sixtofour)
    if not (inside or address).is_global:
        assert verdict(str(address), False, ())


@settings(deadline=None)
@given(st.text(), st.booleans())
def test_any_text_gets_a_verdict(text, allow_loopback):
    words = verdict(text, allow_loopback, EVERYTHING)
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        assert words == "not an IP address"
    else:
        assert ("metadata" in words) if METADATA & set(stands_for(address)) else (words is None)
    disguised_host(text)


@settings(deadline=None)
@given(st.ip_addresses())
def test_with_everything_opened_metadata_alone_is_refused(address):
    words = verdict(str(address), False, EVERYTHING)
    assert ("metadata" in words) if METADATA & set(stands_for(address)) else (words is None)
