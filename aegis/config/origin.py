"""A backend's url, taken apart. Strict: scheme://host[:port] and nothing more, each fault with its own remedy."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LARGEST_PORT: Final = 65_535
_LONGEST_HOST: Final = 253
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_AUTHORITY_END: Final = re.compile(r"[/?#\\]")


class Origin(NamedTuple):
    """Where a backend listens. `host` is lower case and without brackets, `scheme` is http or https."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """host:port, IPv6 in brackets; the port stands there even if it is the default."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(maxsize=1024)
def parse_origin(url: str) -> Origin:
    """The parts of a backend url; ValueError says what is wrong and what to write instead."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must not contain spaces or control characters")
    if url.startswith("unix:"):
        raise ValueError("unix sockets are not supported as backends; use http://host:port")
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(
            f"needs a scheme: write http://{url}" if url else "must be a url such as http://localhost:8081"
        )
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("the scheme must be http or https")
    authority = _authority(rest)
    host, port = _split_port(authority)
    return Origin(scheme, host.lower(), _DEFAULT_PORTS[scheme] if port is None else _port(port))


def valid_host(host: str) -> bool:
    """True for a DNS name or IPv4 address: labels of letters, digits, `-` and `_`, at most 253 characters."""
    name = host.removesuffix(".")
    return 0 < len(name) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in name.split("."))


def _authority(rest: str) -> str:
    end = _AUTHORITY_END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    # [SECURITY] NoUserinfo: `http://trusted@evil` reads like the one and connects to the other.
    if "@" in authority:
        raise ValueError("must not carry a user name or password; remove everything up to the @")
    if "?" in tail:
        raise ValueError("must not have a query; remove everything from the ? on")
    if "#" in tail:
        raise ValueError("must not have a fragment; remove everything from the # on")
    if tail not in ("", "/"):
        raise ValueError("must not have a path; requests keep their own, so end the url after the host and port")
    if not authority:
        raise ValueError("has no host; write scheme://host[:port]")
    return authority


def _split_port(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        inside, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("has a bracket out of place; write IPv6 as http://[::1]:8081")
        return _ipv6(inside), rest[1:] if rest else None
    if authority.count(":") > 1:
        raise ValueError("IPv6 addresses need brackets; write http://[::1]:8081")
    host, colon, port = authority.partition(":")
    if not host.isascii():
        raise ValueError("must be ASCII; write an international name in its xn-- form")
    if not valid_host(host):
        raise ValueError("is no valid host name or address")
    return host, port if colon else None


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError("must not have a zone id; remove everything from the % on")
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise ValueError("has no valid IPv6 address between the brackets") from None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _LARGEST_PORT:
        raise ValueError("the port must be a whole number from 1 to 65535")
    return int(text)
