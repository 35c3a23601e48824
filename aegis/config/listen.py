"""Addresses to listen on for the admin and health listeners: host:port or unix:/path."""

import re
from ipaddress import IPv4Address, ip_address
from typing import Final, NamedTuple

from aegis.config.origin import valid_host

_LARGEST_PORT: Final = 65_535
_LONGEST_PATH: Final = 107  # bytes in sockaddr_un, less the closing NUL
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[^:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII)


class ListenAddress(NamedTuple):
    """Either `path` (a unix socket) or `host` and `port`; the host is an address or `localhost`."""

    host: str
    port: int
    path: str

    @property
    def is_local(self) -> bool:
        """True if only this machine can connect."""
        return bool(self.path) or self.host == "localhost" or ip_address(self.host).is_loopback

    def overlaps(self, host: str, port: int) -> bool:
        """True if a listener on that host and port would take the same one."""
        wild = ("0.0.0.0", "::")
        return not self.path and self.port == port and (self.host == host or self.host in wild or host in wild)


def parse_listen(text: str) -> ListenAddress:
    """The address; ValueError says what to write instead."""
    if text.startswith("unix:"):
        return ListenAddress("", 0, _path(text.removeprefix("unix:")))
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ValueError('must be host:port such as 127.0.0.1:9090 or "[::1]:9090", or unix:/path')
    port = int(match["port"])
    if not 1 <= port <= _LARGEST_PORT:
        raise ValueError("the port must be a whole number from 1 to 65535")
    return ListenAddress(_host(match["six"] or match["four"] or ""), port, "")


def valid_listen_host(host: str) -> bool:
    """True for an IP address without brackets and for a host name; a name never ends in a number."""
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        return _is_address(host)
    return valid_host(host)


def _host(text: str) -> str:
    if text.lower() == "localhost":
        return "localhost"
    if not text:
        raise ValueError("must name the host too, such as 127.0.0.1:9090")
    if not _is_address(text):
        raise ValueError("the host must be an IP address or localhost")
    return str(ip_address(text))


def _is_address(text: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv4Address) or "%" not in text
    except ValueError:
        return False


def _path(path: str) -> str:
    if not path.startswith("/") or not path.isprintable() or path.endswith("/"):
        raise ValueError("the path after unix: must be absolute, such as unix:/run/aegis/admin.sock")
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_PATH} bytes")
    return path
