"""What a client says of itself as it may be written down: its address masked, an odd method cut. Pure."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

LONGEST_METHOD: Final = 64
"""Of a method that is not allowed, this much is kept."""

# Whatever may be an address: four numbers, or hexadecimal groups with at least two colons and perhaps an IPv4 tail.
_CANDIDATE: Final = re.compile(
    r"(?<![\w.])(?:(?:[0-9A-Fa-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)"
    r"|\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d))"
)


def unmapped(address: str) -> str:
    """A TCP peer address in its one spelling: v4-mapped IPv6 becomes IPv4, a zone id goes."""
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def masked(address: str) -> str:
    """The address without what tells one client from its neighbours.

    [SECURITY] LogHygiene: the last two octets of IPv4 and the last 80 bits of IPv6 are cut before any sink.
    """
    if ":" in address:
        prefix = int(ip_address(address.partition("%")[0])) >> 80 << 80
        return str(IPv6Address(prefix))
    first, second, *_ = address.split(".")
    return f"{first}.{second}.x.x"


def masked_text(text: str) -> str:
    """The text with every IP address in it masked: for words that others made, such as those of an exception.

    [SECURITY] LogHygiene: nobody can tell which address of a traceback is a client's, so all of them are cut.
    """
    return _CANDIDATE.sub(_masked_match, text)


def _masked_match(match: re.Match[str]) -> str:
    try:
        return masked(unmapped(match[0]))
    except ValueError:
        return match[0]  # a time of day, a version, a port behind a colon
