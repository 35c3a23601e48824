"""The first line of a request: method, target, version. Strict code of its own, since llhttp is lenient here.

Pure: bytes in, values or Refused out.
"""

import re
from ipaddress import ip_address
from typing import Final

from aegis.reasons import Reason, Refused
from aegis.security.hosts import folded_host
from aegis.security.masking import LONGEST_METHOD

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VERSIONS: Final = frozenset({b"HTTP/1.1", b"HTTP/1.0"})

LONGEST_HOST: Final = 255 + len(":65535")
"""Bytes of a Host field; no name in the DNS is longer."""

MOST_GLIMPSED: Final = 2048

_VISIBLE: Final = bytes(range(0x21, 0x7F))
PLAIN: Final = _VISIBLE.replace(b"#", b"")
_VERSION: Final = re.compile(rb"[A-Za-z]{1,8}/\d{1,2}(?:\.\d{1,2})?")
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::(\d{1,5}))?")
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443"}
METHODS: Final = {name: name.decode() for name in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")}


def split(line: bytes) -> tuple[str, bytes, bytes]:
    """(method, target, version) of a request line without its CRLF."""
    parts = line.split(b" ")
    if len(parts) != 3:  # noqa: PLR2004 - method, target, version
        raise Refused(Reason.BAD_REQUEST_LINE, "not three parts between single spaces")
    method, target, version = parts
    if version not in VERSIONS:
        # [SECURITY] LogHygiene: quoted only if it is one; a query with a space in it ends where a version should be.
        quoted = f" {version[:20]!r}" if _VERSION.fullmatch(version) else ""
        raise Refused(Reason.BAD_REQUEST_LINE, f"no version we speak{quoted}")
    return check_method(method), target, version


def glimpse(data: bytes) -> tuple[str, bytes]:
    """(method, target) of a head that was refused, as far as they can be told: `-` and nothing otherwise.

    The method decides whether the refusal has a body; both are logged, the target without what is secret in it.
    """
    method, _, rest = data[:MOST_GLIMPSED].lstrip(b"\r\n").partition(b" ")
    if not TOKEN.fullmatch(method):
        return "-", b""
    target = rest.partition(b"\r")[0].partition(b" ")[0]
    shown = b"" if target.translate(None, _VISIBLE) else without_secrets(target)
    return method[:LONGEST_METHOD].decode(), shown


def without_secrets(target: bytes) -> bytes:
    """A refused target as it may be logged: no query, no fragment, no userinfo.

    [SECURITY] LogHygiene: `http://user:password@host/` is refused, and the password must not end in the log for it.
    """
    target = target.partition(b"?")[0].partition(b"#")[0]
    if target.startswith(b"/"):
        return target
    scheme, mark, rest = target.rpartition(b"://")
    authority, slash, path = rest.partition(b"/")
    return b"".join((scheme, mark, authority.rpartition(b"@")[2], slash, path))


def check_method(method: bytes) -> str:
    """The method as text; whether it is allowed is for the validation layer to say."""
    known = METHODS.get(method)
    if known is not None:
        return known
    if not TOKEN.fullmatch(method):
        raise Refused(Reason.BAD_REQUEST_LINE, "the method is no token")
    return method.decode()


def check_target(method: str, target: bytes, host: bytes) -> bytes:
    """The target as it goes to the backend: origin form as it came, absolute form cut down to it, or `*`.

    host: the Host field, which an absolute form must not contradict.
    """
    if target.translate(None, PLAIN):
        raise Refused(Reason.BAD_TARGET, "a control byte, a space, a fragment or a byte above 0x7e")
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == "OPTIONS":
        return target
    if method == "CONNECT":
        return without_secrets(target)  # authority form; the validation layer answers 405
    return _origin_form(method, target, host)


def _origin_form(method: str, target: bytes, host: bytes) -> bytes:
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refused(Reason.BAD_TARGET, "neither origin form nor an absolute http target")
    scheme, authority, rest = match.groups()
    # [SECURITY] Target: an authority that Host contradicts would be routed by one of them and checked by the other.
    if b"@" in authority or _HOST.fullmatch(authority) is None:
        raise Refused(Reason.BAD_TARGET, "userinfo or a malformed authority")
    if _with_port(authority, scheme) != _with_port(host, scheme):
        raise Refused(Reason.BAD_HOST, "Host contradicts the absolute target")
    if not rest:
        return b"*" if method == "OPTIONS" else b"/"
    return rest if rest.startswith(b"/") else b"/" + rest


def _with_port(authority: bytes, scheme: bytes) -> tuple[bytes, bytes]:
    match = _HOST.fullmatch(authority)
    name, port = match.groups() if match else (authority, None)
    return name.lower().rstrip(b"."), port or _DEFAULT_PORTS[scheme.lower()]


def host_name(host: bytes) -> str:
    """A Host field's name as the whitelist compares it: case-folded, without port, brackets and trailing dot."""
    match = _HOST.fullmatch(host)
    if match is None or len(host) > LONGEST_HOST or int(match[2] or 0) > 65535:  # noqa: PLR2004 - the largest port
        raise Refused(Reason.BAD_HOST, "malformed Host")
    name = match[1].decode()
    if name.startswith("["):
        try:
            ip_address(name[1:-1])
        except ValueError:
            raise Refused(Reason.BAD_HOST, "malformed IPv6 address") from None
    return folded_host(name)
