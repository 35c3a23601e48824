"""The parsed fields of one request: an immutable block, shared by all requests with the same bytes."""

import re
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from aegis.http1 import framing, llhttp, request_line
from aegis.http1.framing import NO_BODY
from aegis.reasons import Reason, Refused
from aegis.security.forwarding import WEBSOCKET_UPGRADE, Fate, fate, trusted_peer_fields

MOST_FIELDS: Final = 100
NAMES_KEPT: Final = 2048

WEBSOCKET_VERSION: Final = b"13"
WEBSOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64 (RFC 6455 §4.1)."""


class Kind(IntEnum):
    """What becomes of a request field, and what it means to the protocol."""

    PLAIN = 0  # forwarded as it came
    HOST = 1  # the same
    WEBSOCKET_KEY = 2  # the same, whatever Connection names
    WEBSOCKET_VERSION = 3  # the same
    LENGTH = 4
    DROPPED = 5  # hop-by-hop
    CLAIM = 6  # about the peer: forwarded for trusted peers only
    REQUEST_ID = 7  # ours replaces it, a trusted peer's own is kept
    CODING = 8
    CONNECTION = 9
    UPGRADE = 10
    EXPECT = 11


_KINDS: Final = {
    b"host": Kind.HOST,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"expect": Kind.EXPECT,
    b"sec-websocket-key": Kind.WEBSOCKET_KEY,
    b"sec-websocket-version": Kind.WEBSOCKET_VERSION,
}
_FATES: Final = {
    Fate.FORWARD: Kind.PLAIN,
    Fate.DROP: Kind.DROPPED,
    Fate.CLAIM: Kind.CLAIM,
    Fate.REQUEST_ID: Kind.REQUEST_ID,
}

# Plain numbers: looking up a member of the enum costs more than the rest of its line.
(
    _HOST,
    _WEBSOCKET_KEY,
    _WEBSOCKET_VERSION,
    _LENGTH,
    _DROPPED,
    _CLAIM,
    _REQUEST_ID,
    _CODING,
    _CONNECTION,
    _UPGRADE,
    _EXPECT,
) = map(int, list(Kind)[1:])

_USUAL_TOKENS: Final = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_NOTHING: Final = frozenset[bytes]()
_OURS: Final = frozenset({b"host", b"content-length", b"sec-websocket-key", b"sec-websocket-version"})
"""The backend needs them to read the request as we did, whatever Connection names."""

_kinds: dict[bytes, int] = {}


def classify(name: bytes) -> int:
    """The kind of a field name, as a number; remembered, since clients use few names."""
    lower = name.lower()
    if len(_kinds) >= NAMES_KEPT:
        _kinds.clear()  # names that never repeat must not pile up
    kind = _kinds[name] = int(_KINDS.get(lower, _FATES[fate(lower)]))
    return kind


class Block:
    """All that a request's version and fields say. Never changed after it was built.

    Defaults stand on the class: fewer stores per head that was not seen before than slots would need.
    """

    host = b""  # as it came
    closes = False  # Connection says close
    stripped = _NOTHING  # lower-case names that Connection strips
    expects_continue = False
    upgrade = False  # asks for one, validly or not
    websocket = False  # a valid WebSocket request, as far as its fields tell until `settle_method`
    request_id = b""  # X-Request-ID as it came
    claims: tuple[tuple[bytes, bytes], ...] = ()  # fields about the peer, worth something from a trusted one

    def __init__(self, fields: llhttp.Fields, *, http11: bool) -> None:
        self.fields = fields  # names and values as they came
        self.http11 = http11
        self.keep_alive = http11
        self.plain = http11  # and without a body: a whole answer needs no second thought
        # Read for every request, so they stand here: what only the class has costs ten times as much to read.
        self.framing = NO_BODY
        self.has_body = False
        self.host_name = ""  # as the whitelist compares it
        self.host_line = b""  # X-Forwarded-Host for an untrusted peer
        self.forward = b""  # field lines toward the backend; what we say of the peer is not among them

    def __repr__(self) -> str:
        return f"<Block {self.host_name} {self.framing}>"

    def settle_method(self, method: bytes) -> None:
        """The last step for a WebSocket request, which is never shared: its key does not repeat."""
        # [SECURITY] HopByHop: what came was stripped; the upgrade that goes out is ours, and only for a GET.
        self.websocket = method == b"GET"
        if self.websocket:
            self.forward += WEBSOCKET_UPGRADE

    def trusted_peer_fields(self, address: str, scheme: str) -> bytes:
        """What we say to a backend of a trusted peer with these fields."""
        return trusted_peer_fields(self.claims, address, scheme, self.host)

    def environ(self) -> dict[str, Any]:
        """The fields as WSGI names them. Made on demand: no layer of ours reads them."""
        environ: dict[str, Any] = {}
        for name, raw in zip(*self.fields, strict=True):
            key, text = _environ_key(name.lower()), raw.rstrip(b" \t").decode("latin-1")
            if key in environ:
                environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + text
            elif key:
                environ[key] = text
        return environ


def _environ_key(lower: bytes) -> str:
    # [SECURITY] EnvironNames: `X_A` and `X-A` would be one key; a name with `_` never enters the environ.
    if b"_" in lower:
        return ""
    key = lower.decode().upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else "HTTP_" + key


NO_BLOCK: Final = Block(([], []), http11=True)
"""Stands in where a head could not be read."""
NO_BLOCK.keep_alive = False


def parse(version_and_fields: bytes) -> Block:
    """`HTTP/1.x CRLF *(field CRLF)` → its Block. Raises Refused with the reason of the first fault."""
    if version_and_fields.count(b"\r\n") > MOST_FIELDS + 1:
        raise Refused(Reason.HEAD_TOO_LARGE, f"more than {MOST_FIELDS} fields")
    version = version_and_fields[:8]
    if version not in request_line.VERSIONS or version_and_fields[8:10] != b"\r\n":
        raise Refused(Reason.BAD_REQUEST_LINE, "version")
    try:
        fields = llhttp.request_fields(version_and_fields)
    except llhttp.FieldSyntaxError as error:
        raise Refused(Reason.BAD_FRAMING if error.framing else Reason.BAD_FIELD, str(error)) from error
    return _build(Block(fields, http11=version == b"HTTP/1.1"), version_and_fields)


def _build(block: Block, version_and_fields: bytes) -> Block:
    """Fill the block from its fields; the special ones decide, the plain ones are forwarded as they came."""
    names, values = block.fields
    kinds = [*map(_kinds.get, names)]
    if None in kinds:
        kinds = [classify(name) for name in names]
    special: dict[int, list[bytes]] = {}
    altered: list[int] = []
    for index, kind in enumerate(kinds):
        if kind:
            special.setdefault(kind, []).append(values[index].rstrip(b" \t"))
            if kind >= _LENGTH:
                altered.append(index)
    _settle_host(block, special.get(_HOST, ()))
    if altered:
        _settle_special(block, special)
        block.forward = _forward(block, version_and_fields, kinds, altered)
    else:
        block.forward = version_and_fields[10:]
    return block


def _settle_special(block: Block, special: dict[int, list[bytes]]) -> None:
    for value in special.get(_CONNECTION, ()):
        _settle_connection(block, value)
    _settle_body(block, special)
    if block.upgrade or _UPGRADE in special:
        _settle_upgrade(block, special)
    for value in special.get(_REQUEST_ID, ()):
        block.request_id = value


def _settle_host(block: Block, hosts: "list[bytes] | tuple[()]") -> None:
    if len(hosts) != 1:
        raise Refused(Reason.BAD_HOST, "no Host" if not hosts else "more than one Host")
    block.host = hosts[0]
    block.host_name, block.host_line = _host(hosts[0])


@lru_cache(maxsize=1024)
def _host(host: bytes) -> tuple[str, bytes]:
    return request_line.host_name(host), b"X-Forwarded-Host: %b\r\n" % host


def _settle_connection(block: Block, value: bytes) -> None:
    tokens, stripped = _connection(value)
    if b"close" in tokens:
        block.closes = True
    block.keep_alive = not block.closes and (block.keep_alive or b"keep-alive" in tokens)
    block.upgrade |= b"upgrade" in tokens
    block.stripped |= stripped


@lru_cache(maxsize=256)
def _connection(value: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """(tokens, names that go) of a Connection field, lower-case."""
    tokens = frozenset(token.strip(b" \t").lower() for token in value.split(b","))
    # [SECURITY] HopByHop: whatever Connection names goes, before ours is set.
    return tokens, tokens - _USUAL_TOKENS - _OURS


def _settle_body(block: Block, special: dict[int, list[bytes]]) -> None:
    lengths, codings = special.get(_LENGTH, ()), special.get(_CODING, ())
    if lengths or codings:
        try:
            block.framing = framing.decide(lengths, codings, http11=block.http11)
        except framing.FramingError as error:
            raise Refused(Reason.BAD_FRAMING, str(error)) from error
        block.has_body = block.framing.has_body
        block.plain = block.http11 and not block.has_body
    expectations = special.get(_EXPECT)
    if expectations and block.http11:
        if [value.lower() for value in expectations] != [b"100-continue"]:
            raise Refused(Reason.EXPECTATION_FAILED, "an Expect other than 100-continue")
        block.expects_continue = block.has_body


def _settle_upgrade(block: Block, special: dict[int, list[bytes]]) -> None:
    protocols = special.get(_UPGRADE)
    if not protocols:
        block.upgrade = False
        return
    # [SECURITY] UpgradeBody: parsers disagree whether the body of such a request is a body or the new protocol.
    if block.has_body:
        raise Refused(Reason.BAD_UPGRADE, "an Upgrade with a body")
    asked = [value.lower() for value in protocols] == [b"websocket"]
    keys = special.get(_WEBSOCKET_KEY, [])
    keyed = len(keys) == 1 and WEBSOCKET_KEY.fullmatch(keys[0]) is not None
    known = special.get(_WEBSOCKET_VERSION) == [WEBSOCKET_VERSION]
    block.websocket = block.upgrade and asked and keyed and known and block.http11


def _forward(block: Block, version_and_fields: bytes, kinds: "list[int | None]", altered: list[int]) -> bytes:
    """The lines toward the backend: kept as they came, but for the length, which is re-printed, and the coding."""
    names, values = block.fields
    # llhttp refuses folded lines, so lines (behind the version) and fields are in step.
    lines = version_and_fields.split(b"\r\n")
    claims = []
    for index in reversed(altered):
        kind = kinds[index]
        if kind == _LENGTH:
            # `007` is legal and read differently by some.
            lines[index + 1] = b"%b: %d" % (names[index], block.framing.length or 0)
            continue
        if kind == _CLAIM and names[index].lower() not in block.stripped:
            claims.append((names[index], values[index].rstrip(b" \t")))
        del lines[index + 1]
    if claims:
        block.claims = tuple(reversed(claims))
    del lines[0]
    if block.stripped:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in block.stripped]
    if block.framing.chunked:
        lines.insert(-1, b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines)
