"""Host names as they are compared, and which of them are served. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


def folded_host(name: str) -> str:
    """A host name in the one form in which names are compared: lower case, no brackets, no trailing dot."""
    bare = name.lower().strip("[]")
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare.rstrip(".")


class HostWhitelist:
    """Host names that are served: exact, `*.suffix`, or `*` for all. Compared case-folded."""

    def __init__(self, names: Iterable[str]) -> None:
        folded = [folded_host(name) for name in names]
        self.all = "*" in folded
        self.exact = frozenset(name for name in folded if not name.startswith("*"))
        self.suffixes = tuple(name[1:] for name in folded if name.startswith("*."))

    def __repr__(self) -> str:
        return f"<HostWhitelist {'*' if self.all else sorted(self.exact)} {self.suffixes}>"

    def __contains__(self, name: str) -> bool:
        return self.all or name in self.exact or name.endswith(self.suffixes)


def whitelist(allowed_hosts: Sequence[str], backend_hosts: Iterable[str], listen_host: str) -> HostWhitelist:
    """`allowed_hosts`, and when that is empty the backends' names, the loopback names and the listen host."""
    return HostWhitelist(allowed_hosts or (*backend_hosts, *LOOPBACK_NAMES, listen_host))
