"""The rules that a type cannot say: between keys, and the grammar of hosts, methods, networks and addresses.

Pure: a Config in, all faults out. What needs a name resolved (SSRF, our own listener) is decided at start.
"""

import re
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain
from typing import Final, NamedTuple

from aegis.config.keys import plain
from aegis.config.listen import ListenAddress, parse_listen, valid_listen_host
from aegis.config.origin import parse_origin, valid_host
from aegis.config.schema import BackendEntry, Config

_NAME: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,64}", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110 §5.6.2
_PATH: Final = re.compile(r"/[!-\"$-~]*", re.ASCII)  # visible ASCII without #
_NEVER: Final = ("CONNECT", "TRACE")
_USUAL: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LIMITER_PREFIX: Final = 64


class Fault(NamedTuple):
    """A broken rule: the key that breaks it, what would be right, and the other keys the rule compares it with."""

    path: str
    message: str
    others: tuple[str, ...] = ()


def faults(config: Config) -> Iterator[Fault]:
    """All broken rules, section by section."""
    return chain.from_iterable(rule(config) for rule in _RULES)


def is_own_listener(
    host: str, port: int, addresses: Collection[str], backend_port: int, *, local: Collection[str] = ()
) -> bool:
    """True if a backend with these addresses is our own listener on `host`:`port`: Aegis would call itself for ever.

    host: an address, a wildcard, or a name (then only loopback names are known here). local: this machine's own
    addresses, which a wildcard listener answers on besides loopback.
    """
    return port == backend_port and any(_listens_on(host.lower(), _unmapped(text), local) for text in addresses)


def _listens_on(host: str, address: str, local: Collection[str]) -> bool:
    backend = ip_address(address)
    if host == "localhost":
        return address in ("127.0.0.1", "::1")
    if host not in ("0.0.0.0", "::"):
        return _unmapped(host) == address
    if host == "0.0.0.0" and isinstance(backend, IPv6Address):
        return False
    return backend.is_loopback or backend.is_unspecified or address in map(_unmapped, local)


def _unmapped(text: str) -> str:
    """One spelling for an address; a v4-mapped one counts as IPv4. A name comes back as it is."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _server(config: Config) -> Iterator[Fault]:
    server = config.server
    if not valid_listen_host(server.host):
        yield Fault("server.host", 'must be an IP address without brackets or a host name, such as 0.0.0.0 or "::"')
    for index, host in enumerate(server.allowed_hosts):
        yield from _said(_check_allowed_host, host, f"server.allowed_hosts[{index}]")
    if not server.allowed_methods:
        yield Fault("server.allowed_methods", "must name at least one method, such as GET")
    for index, method in enumerate(server.allowed_methods):
        yield from _said(_check_method, method, f"server.allowed_methods[{index}]")
    if config.rate_limit.ipv6_prefix != _LIMITER_PREFIX and server.workers != 1:
        words = "must be 64 with several workers, which are dealt clients by /64; or set server.workers: 1"
        yield Fault("rate_limit.ipv6_prefix", words, ("server.workers",))


def _check_allowed_host(host: str) -> None:
    if host == "*":
        return
    name = host.removeprefix("*.")
    if "/" in name or "@" in name:
        raise ValueError("must be a host name only, without scheme, path or user")
    if "*" in name:
        raise ValueError("may have a * only alone or first, as in *.example.com")
    if name.startswith("[") and name.endswith("]") and _is_ipv6(name[1:-1]) and name == host:
        return
    if _is_ipv6(name):
        raise ValueError(f'IPv6 addresses need brackets and quotes: "[{name}]"')
    if ":" in name:
        raise ValueError("must have no port; hosts are compared without it")
    if not valid_host(name):
        raise ValueError("must be a host name (international ones in xn-- form), *.suffix or *")


def _is_ipv6(text: str) -> bool:
    try:
        return "%" not in text and isinstance(ip_address(text), IPv6Address)
    except ValueError:
        return False


def _check_method(method: str) -> None:
    if not _TOKEN.fullmatch(method):
        raise ValueError("must be a method token of letters, digits and !#$%&'*+.^_`|~-")
    # [SECURITY] NoTunnelMethods: CONNECT would make us an open proxy, TRACE echoes credentials to scripts.
    if method.upper() in _NEVER:
        raise ValueError("is never served; remove it")
    if method not in _USUAL and method.upper() in _USUAL:
        raise ValueError(f"methods are case-sensitive; did you mean {method.upper()}?")


def _backends(config: Config) -> Iterator[Fault]:
    backends = config.backends
    if not backends:
        yield Fault("backends", "must list at least one, such as {url: http://localhost:8081, weight: 1}")
    elif not any(backend.weight for backend in backends):
        weights = tuple(f"backends[{index}].weight" for index in range(len(backends)))
        yield Fault("backends", "at least one weight must be above 0, or no request could be served", weights)
    urls: dict[object, int] = {}
    names: dict[str, int] = {}
    for index, backend in enumerate(backends):
        yield from _backend(index, backend, urls, names)


def _backend(index: int, backend: BackendEntry, urls: dict[object, int], names: dict[str, int]) -> Iterator[Fault]:
    path = f"backends[{index}]"
    try:
        origin = parse_origin(backend.url)
    except ValueError as error:
        yield Fault(f"{path}.url", str(error))
        origin = None
    if origin:
        first = urls.setdefault(origin._replace(host=origin.host.removesuffix(".")), index)
        if first != index:
            words = f"is the same as backends[{first}]; use weight for a larger share"
            yield Fault(f"{path}.url", words, (f"backends[{first}].url",))
            return
    given = origin is None or backend.name != origin.netloc
    if not backend.name and origin is None:
        return
    if not _NAME.fullmatch(backend.name):
        remedy = "must be" if given else "is too long to be the name too; give it a `name` of"
        words = f"{remedy} 1 to 64 letters, digits, '.', '_', ':', '-' and brackets"
        yield Fault(f"{path}.{'name' if given else 'url'}", words)
    first = names.setdefault(backend.name, index)
    if first != index:
        others = (f"backends[{first}].name", f"backends[{first}].url")
        words = f"would have the same name as backends[{first}], {backend.name}; give one of them another `name`"
        yield Fault(f"{path}.{'name' if given else 'url'}", words, others)


def _health_check(config: Config) -> Iterator[Fault]:
    check = config.health_check
    if check.timeout > check.interval:
        words = f"must be at most health_check.interval ({check.interval})"
        yield Fault("health_check.timeout", words, ("health_check.interval",))
    if not _PATH.fullmatch(check.path):
        yield Fault("health_check.path", "must begin with / and hold neither spaces nor #, such as /health")


def _rates(config: Config) -> Iterator[Fault]:
    rate, loop = config.rate_limit.requests_per_second, config.adaptive
    lowest, highest = plain(loop.min_rate), plain(loop.max_rate)
    off = "" if loop.enabled else " (also while adaptive.enabled is false, so that it can be switched on)"
    if loop.min_rate > loop.max_rate:
        yield Fault("adaptive.min_rate", f"must be at most adaptive.max_rate ({highest})", ("adaptive.max_rate",))
    elif rate < loop.min_rate:
        words = f"must be at least adaptive.min_rate ({lowest}); raise it or lower adaptive.min_rate{off}"
        yield Fault("rate_limit.requests_per_second", words, ("adaptive.min_rate",))
    elif rate > loop.max_rate:
        words = f"must be at most adaptive.max_rate ({highest}); lower it or raise adaptive.max_rate{off}"
        yield Fault("rate_limit.requests_per_second", words, ("adaptive.max_rate",))


def _security(config: Config) -> Iterator[Fault]:
    for key in ("allowed_backend_networks", "trusted_proxies"):
        for index, text in enumerate(getattr(config.security, key)):
            yield from _said(_check_network, text, f"security.{key}[{index}]")


def _check_network(text: str) -> None:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(_network_remedy(text)) from None
    if isinstance(network, IPv6Network) and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        raise ValueError("is IPv4 in disguise; write it as IPv4")


def _network_remedy(text: str) -> str:
    try:
        return f"has bits set beyond its prefix; did you mean {ip_network(text, strict=False)}?"
    except ValueError:
        return "must be a network such as 10.0.0.0/8 or fd00::/8, or one address"


def _admin(config: Config) -> Iterator[Fault]:
    found: dict[str, ListenAddress] = {}
    for key in ("listen", "health_listen"):
        text = getattr(config.admin, key)
        try:
            if text:
                found[key] = parse_listen(text)
        except ValueError as error:
            yield Fault(f"admin.{key}", str(error))
    # [SECURITY] AdminLocal: whoever reaches this listener can drain the pool; facing the network must be said twice.
    if "listen" in found and not found["listen"].is_local and not config.admin.allow_remote:
        words = "would face the network; listen on 127.0.0.1, or set admin.allow_remote: true if that is meant"
        yield Fault("admin.listen", words, ("admin.allow_remote",))
    for key, address in found.items():
        if address.overlaps(config.server.host, config.server.port):
            others = ("server.host", "server.port")
            yield Fault(f"admin.{key}", f"takes the port of server.port ({config.server.port}); choose another", others)
    if len(found) > 1 and _clash(found["listen"], found["health_listen"]):
        yield Fault("admin.health_listen", "is the same as admin.listen; choose another", ("admin.listen",))


def _clash(one: ListenAddress, other: ListenAddress) -> bool:
    return one == other or (not other.path and one.overlaps(other.host, other.port))


def _files(config: Config) -> Iterator[Fault]:
    for path, text in (("logging.file", config.logging.file), ("adaptive.record", config.adaptive.record)):
        if not text.isprintable():
            yield Fault(path, "must be a file name without control characters")


def _said(check: Callable[[str], None], text: str, path: str) -> Iterator[Fault]:
    try:
        check(text)
    except ValueError as error:
        yield Fault(path, str(error))


_RULES: Final = (_server, _backends, _health_check, _rates, _security, _admin, _files)
