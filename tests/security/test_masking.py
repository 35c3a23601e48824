from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.security.masking import masked, unmapped


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.9", "203.0.x.x"),
        ("1.2.3.4", "1.2.x.x"),
        ("255.255.255.255", "255.255.x.x"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("2001:db8::1", "2001:db8::"),
        ("::1", "::"),
        ("fe80::1%eth0", "fe80::"),
        ("2001:DB8:ABCD:1::", "2001:db8:abcd::"),
    ],
)
def test_the_last_two_octets_or_the_last_80_bits_are_cut(address, shown):
    assert masked(address) == shown


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_mapped_peer_counts_as_ipv4_and_every_address_has_one_spelling(address, plain):
    assert unmapped(address) == plain


def test_a_mapped_peer_is_masked_as_ipv4():
    assert masked(unmapped("::ffff:203.0.113.9")) == "203.0.x.x"


@given(st.ip_addresses(v=6))
@settings(deadline=None, max_examples=100)
def test_of_an_ipv6_address_48_bits_are_left(address):
    shown = ip_address(masked(str(address)))
    assert int(shown) >> 80 == int(address) >> 80
    assert int(shown) & (1 << 80) - 1 == 0


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
@settings(deadline=None, max_examples=100)
def test_neighbours_cannot_be_told_apart(one, other):
    same_network = int(one) >> 16 == int(other) >> 16
    assert (masked(str(one)) == masked(str(other))) is same_network
