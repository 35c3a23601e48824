"""The parsed fields of one request: an immutable block, shared by all requests with the same bytes."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from aegis.http1 import framing, llhttp, request_line
from aegis.http1.framing import Framing
from aegis.reasons import Reason, Refused
from aegis.security.forwarding import Fate, fate, trusted_peer_fields

MOST_FIELDS: Final = 100
NAMES_KEPT: Final = 2048


class Kind(IntEnum):
    """What a request field means to the protocol itself."""

    PLAIN = 0
    HOST = 1
    LENGTH = 2
    CODING = 3
    CONNECTION = 4
    UPGRADE = 5
    EXPECT = 6
    WEBSOCKET_KEY = 7


_KINDS: Final = {
    b"host": Kind.HOST,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"expect": Kind.EXPECT,
    b"sec-websocket-key": Kind.WEBSOCKET_KEY,
}

_IN_PLACE: Final = frozenset({Kind.HOST, Kind.LENGTH, Kind.CODING, Kind.WEBSOCKET_KEY})
"""Forwarded where they stand, whatever Connection names: the backend needs them to read the request as we did."""

Name = tuple[bytes, Kind, Fate, str | None]
"""(lower-case name, kind, fate, environ key); no key = it never enters the environ."""

_names: dict[bytes, Name] = {}


def classify(name: bytes) -> Name:
    """What a field name means; remembered, since clients use few names."""
    known = _names.get(name)
    if known is not None:
        return known
    lower = name.lower()
    entry = (lower, _KINDS.get(lower, Kind.PLAIN), fate(lower), _environ_key(lower))
    if len(_names) >= NAMES_KEPT:
        _names.clear()  # names that never repeat must not pile up
    _names[name] = entry
    return entry


def _environ_key(lower: bytes) -> str | None:
    # [SECURITY] EnvironNames: `X_A` and `X-A` would be one key; a name with `_` never enters the environ.
    if b"_" in lower:
        return None
    if lower in (b"content-type", b"content-length"):
        return lower.decode().upper().replace("-", "_")
    return "HTTP_" + lower.decode().upper().replace("-", "_")


class Block:
    """All that a request's version and fields say. Never changed after it was built."""

    __slots__ = (
        "_claims",
        "environ",
        "expects_continue",
        "forward",
        "forward_trusted",
        "framing",
        "host",
        "host_name",
        "http11",
        "keep_alive",
        "request_id",
        "upgrade",
        "websocket",
    )

    def __init__(self, *, http11: bool) -> None:
        self.http11 = http11
        self.environ: Mapping[str, Any] = {}
        self.framing = Framing()
        self.host = b""  # as it came
        self.host_name = ""  # as the whitelist compares it
        self.keep_alive = False
        self.expects_continue = False
        self.upgrade = False  # asks for one, validly or not
        self.websocket = False  # the fields of a valid WebSocket request; the method is not ours to see
        self.forward = b""  # fields toward the backend for an untrusted peer; what we say of the peer is not in it
        self.forward_trusted = b""  # the same for a trusted one, its claims left out
        self.request_id = b""  # X-Request-ID as it came
        self._claims: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"<Block {self.host_name} {self.framing}>"

    def peer_fields(self, address: str, scheme: str) -> bytes:
        """What we say to a backend of a trusted peer with these fields."""
        return trusted_peer_fields(self._claims, address, scheme, self.host)


NO_BLOCK: Final = Block(http11=True)
"""Stands in where a head could not be read; its connection is never kept."""


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
    return _Builder(http11=version == b"HTTP/1.1").build(fields)


class _Builder:
    """Sorts the fields of one head into the slots of its Block."""

    def __init__(self, *, http11: bool) -> None:
        self.block = Block(http11=http11)
        self.environ: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/1.1" if http11 else "HTTP/1.0"}
        self.forward: list[bytes] = []
        self.named: list[bytes] = []  # lower-case names, in step with `forward`
        self.claims: list[tuple[bytes, bytes]] = []
        self.special: dict[Kind, list[bytes]] = {}

    def build(self, fields: llhttp.RawFields) -> Block:
        for name, raw in fields:
            lower, kind, becomes, key = classify(name)
            value = raw.rstrip(b" \t")
            if key is not None:
                self._into_environ(key, value)
            if kind is not Kind.PLAIN:
                self._special(kind, name, value)
            elif becomes is Fate.FORWARD:
                self.forward.append(b"%b: %b\r\n" % (name, value))
                self.named.append(lower)
            elif becomes is Fate.CLAIM:
                self.claims.append((name, value))
            elif becomes is Fate.REQUEST_ID and lower == b"x-request-id":
                self.block.request_id = value
        self._connection()
        self._host()
        self._body()
        self._forward()
        return self.block

    def _special(self, kind: Kind, name: bytes, value: bytes) -> None:
        self.special.setdefault(kind, []).append(value)
        if kind in _IN_PLACE:
            if kind is Kind.LENGTH and value.isdigit():
                value = b"%d" % int(value[:20])  # re-printed: `007` is legal and read differently by some
            elif kind is Kind.CODING:
                value = b"chunked"  # the only one there is by now, in its usual case
            self.forward.append(b"%b: %b\r\n" % (name, value))
            self.named.append(b"")  # a name that no Connection token strips

    def _into_environ(self, key: str, value: bytes) -> None:
        text = value.decode("latin-1")
        if key in self.environ:
            joint = "; " if key == "HTTP_COOKIE" else ", "
            text = self.environ[key] + joint + text
        self.environ[key] = text

    def _connection(self) -> None:
        block, values = self.block, self.special.get(Kind.CONNECTION)
        block.keep_alive = block.http11
        if not values:
            return
        tokens = {token.strip(b" \t").lower() for value in values for token in value.split(b",")} - {b""}
        if b"close" in tokens:
            block.keep_alive = False
        elif b"keep-alive" in tokens:
            block.keep_alive = True
        # [SECURITY] HopByHop: whatever Connection names goes, before ours is set.
        if not tokens.isdisjoint(self.named):
            kept = [(name, line) for name, line in zip(self.named, self.forward, strict=True) if name not in tokens]
            self.named = [name for name, _ in kept]
            self.forward = [line for _, line in kept]
        self.claims = [(name, value) for name, value in self.claims if name.lower() not in tokens]
        block.upgrade = b"upgrade" in tokens

    def _host(self) -> None:
        hosts = self.special.get(Kind.HOST, ())
        if len(hosts) != 1:
            raise Refused(Reason.BAD_HOST, "no Host" if not hosts else "more than one Host")
        self.block.host = hosts[0]
        self.block.host_name = request_line.host_name(hosts[0])

    def _body(self) -> None:
        special, block = self.special, self.block
        try:
            block.framing = framing.decide(
                special.get(Kind.LENGTH, ()), special.get(Kind.CODING, ()), http11=block.http11
            )
        except framing.FramingError as error:
            raise Refused(Reason.BAD_FRAMING, str(error)) from error
        expectations = special.get(Kind.EXPECT)
        if expectations and block.http11:
            if [value.lower() for value in expectations] != [b"100-continue"]:
                raise Refused(Reason.EXPECTATION_FAILED, "an Expect other than 100-continue")
            block.expects_continue = block.framing.has_body
        self._upgrade()

    def _upgrade(self) -> None:
        block, protocols = self.block, self.special.get(Kind.UPGRADE)
        if not protocols:
            block.upgrade = False
            return
        # [SECURITY] UpgradeBody: parsers disagree whether the body of such a request is a body or the new protocol.
        if block.framing.has_body:
            raise Refused(Reason.BAD_UPGRADE, "an Upgrade with a body")
        asked = [value.lower() for value in protocols] == [b"websocket"]
        keyed = len(self.special.get(Kind.WEBSOCKET_KEY, ())) == 1
        block.websocket = block.upgrade and asked and keyed and block.http11

    def _forward(self) -> None:
        block = self.block
        block.forward_trusted = b"".join(self.forward)
        block.forward = block.forward_trusted + b"X-Forwarded-Host: %b\r\n" % block.host
        block.environ = self.environ
        block._claims = tuple(self.claims)  # noqa: SLF001 - the builder is the block's only writer
