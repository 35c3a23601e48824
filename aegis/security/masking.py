"""Client addresses as they may be written down. Pure."""

from ipaddress import IPv6Address, ip_address


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
