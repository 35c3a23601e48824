"""SSRF verdicts: may a backend lie at this address, and is this host written so that resolvers disagree on it?

Pure: text in, words out. It knows no names, no configuration and no sockets; whoever resolves asks here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# [SECURITY] Metadata: these hand out the machine's credentials to whoever asks, so no setting opens them.
METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google and most others
            "169.254.170.2",  # AWS ECS task credentials
            "169.254.170.23",  # AWS EKS pod identity
            "fd00:ec2::254",  # AWS over IPv6
            "fd00:ec2::23",  # AWS EKS pod identity over IPv6
            "fd20:ce::254",  # Google over IPv6
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's host agent, public by number only
            "192.0.0.192",  # Oracle, older images
        ),
    ),
)

_LOOPBACK: Final = "loopback"
_PRIVATE: Final = "private"

# [SECURITY] Special4: all that IANA's special-purpose registry calls not global, and what is not unicast.
_SPECIAL4: Final = tuple(
    (IPv4Network(cidr), words)
    for cidr, words in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", _PRIVATE),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", _LOOPBACK),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", _PRIVATE),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.88.99.0/24", "reserved, once a 6to4 relay"),
        ("192.168.0.0/16", _PRIVATE),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

# [SECURITY] Special6: the same for IPv6. The first match speaks, and the last line refuses all but global unicast.
_SPECIAL6: Final = tuple(
    (IPv6Network(cidr), words)
    for cidr, words in (
        ("::1/128", _LOOPBACK),
        ("::/128", "the unspecified address"),
        ("fc00::/7", _PRIVATE),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "reserved for documentation"),
        ("3fff::/20", "reserved for documentation"),
    )
)
_GLOBAL6: Final = (IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"))

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")

_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


class Finding(NamedTuple):
    """Why an address is refused. `remedy` says what would open it, "" if nothing does."""

    words: str
    remedy: str


def examine(address: str, *, allow_loopback: bool, networks: Sequence[Network]) -> Finding | None:
    """None if a backend may lie at this address, else why not and what would open it.

    allow_loopback opens 127/8 and ::1 and nothing else; networks opens what lies in them; metadata is never opened.
    """
    try:
        # [SECURITY] ZoneId: a zone only picks an interface; it must not hide what the address is.
        outer = ip_address(address.partition("%")[0] if ":" in address else address)
    except ValueError:
        return Finding("not an IP address", "")
    # [SECURITY] MappedIsIPv4: the kernel connects ::ffff:a.b.c.d by IPv4, so it is judged and opened as that.
    real = _mapped(outer)
    inside = tuple(_embedded(real))
    if real in METADATA or any(address in METADATA for _, address in inside):
        return Finding("the cloud's metadata service, which no setting opens", "")
    if any(real in network for network in networks if network.version == real.version):
        return None
    words = _special(real)
    # [SECURITY] LoopbackOnly: the developer's switch opens plain loopback, no tunnel to one and nothing private.
    if words.startswith(_LOOPBACK):
        return None if allow_loopback else Finding(words, "development.allow_loopback_backends: true")
    disguised = (f"{how} {address}, {found}" for how, address in inside if (found := _special(address)))
    words = words or next(disguised, "")
    remedy = f"security.allowed_backend_networks: [{real}/{real.max_prefixlen}]"
    return Finding(words, remedy) if words else None


def networks_opened_for(addresses: Iterable[str]) -> tuple[str, ...]:
    """The single-address CIDRs that let these addresses pass, for those that are loopback or private, no others.

    For backends named on the command line: whoever typed the address meant it, but no more than it.
    """
    found = dict[str, None]()
    for text in addresses:
        address = _mapped(ip_address(text.partition("%")[0]))
        if _special(address).startswith((_LOOPBACK, _PRIVATE)):
            found[f"{address}/{address.max_prefixlen}"] = None
    return tuple(found)


def disguised_host(host: str) -> str | None:
    """Words for a host that one resolver reads as an address and another as a name; None for every other host.

    host: as in the url, IPv6 with or without brackets. To be refused before anything is resolved.
    """
    # [SECURITY] OneSpelling: 0177.0.0.1, 127.1, 0x7f.1 and 2130706433 are loopback for one resolver and something
    # else for the next, so what was vetted need not be what is connected to.
    if not host.isascii():
        return "not ASCII; resolvers fold such characters in ways of their own"
    if ":" in host:
        return None if _is_address(host.removeprefix("[").removesuffix("]")) else "not an IPv6 address"
    last = host.removesuffix(".").rpartition(".")[2]
    if not _NUMBER.fullmatch(last):
        return None
    # A host whose last label is a number is an address (WHATWG URL, "ends in a number"): only the plain form counts.
    if _is_address(host):
        return None
    return "a number in a form on which resolvers disagree; write four decimal numbers, such as 192.0.2.1"


def _mapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address in _MAPPED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _embedded(address: Address) -> Iterator[tuple[str, IPv4Address]]:
    """The IPv4 addresses that an IPv6 one carries to a translator or tunnel, each with words for how."""
    # [SECURITY] Disguise: a gateway unwraps these and connects to what is inside, so that is judged too.
    number = int(address)
    if isinstance(address, IPv4Address):
        return
    if address in _NAT64:
        yield "NAT64 for", _low32(number)
    elif address in _NAT64_LOCAL:
        yield from (("NAT64 for", _rfc6052(number, length)) for length in (48, 56, 64, 96))
    elif address in _SIX_TO_FOUR:
        yield "6to4 for", _low32(number >> 80)
    elif address in _TEREDO:
        yield "Teredo through", _low32(number >> 64)
        yield "Teredo for", _low32(~number)
    elif address in _TRANSLATED or (address in _COMPATIBLE and number > 1):  # ::1 and :: are themselves
        yield "IPv4 in IPv6 for", _low32(number)


def _low32(number: int) -> IPv4Address:
    return IPv4Address(number & 0xFFFF_FFFF)


def _rfc6052(number: int, length: int) -> IPv4Address:
    """The IPv4 address behind a NAT64 prefix of that length; bits 64 to 71 are left out (RFC 6052 §2.2)."""
    if length == 96:  # noqa: PLR2004 - the lengths of the RFC
        return _low32(number)
    without_u = (number >> 64 << 56) | (number & (1 << 56) - 1)  # 120 bits
    return _low32(without_u >> (120 - length - 32))


def _special(address: Address) -> str:
    """What is special about an address, "" for ordinary global unicast."""
    table: Sequence[tuple[Network, str]] = _SPECIAL4 if isinstance(address, IPv4Address) else _SPECIAL6
    for network, words in table:
        if address in network:
            return f"{words} ({network})"
    ordinary = isinstance(address, IPv4Address) or any(address in network for network in _GLOBAL6)
    return "" if ordinary else "reserved (outside 2000::/3)"


def _is_address(text: str) -> bool:
    try:
        return str(ip_address(text)) == text.lower() or ":" in text
    except ValueError:
        return False
