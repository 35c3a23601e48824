"""Heads of backend responses: raw bytes → an immutable `Head`, through a memo."""

import re
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Final

from aegis.http1 import framing, llhttp, write
from aegis.http1.framing import NO_BODY, NO_BODY_STATUSES, Framing
from aegis.http1.memo import Memo
from aegis.security.forwarding import HOP_BY_HOP, WEBSOCKET_UPGRADE
from aegis.security.headers import REPLACED, SECURITY_WIRE
from aegis.security.masking import masked_text

STATUS_LINE: Final = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: [^\x00\r\n]*)?")
LARGEST_HEAD: Final = 64 * 1024
SWITCHING: Final = 101
FIRST_FINAL: Final = 200
NO_CONTENT: Final = 204
NAMES_KEPT: Final = 2048


class Kind(IntEnum):
    """What becomes of a response field, and what it means to the protocol."""

    PLAIN = 0  # kept, as the following are
    LENGTH = 1
    DATE = 2
    CONTENT_TYPE = 3
    DROPPED = 4  # hop-by-hop, or the backend's request id: ours is echoed
    REPLACED = 5  # by the security fields
    CODING = 6
    CONNECTION = 7
    UPGRADE = 8


_KINDS: Final = {
    **dict.fromkeys(HOP_BY_HOP, Kind.DROPPED),
    **dict.fromkeys(REPLACED, Kind.REPLACED),
    b"x-request-id": Kind.DROPPED,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"date": Kind.DATE,
    b"content-type": Kind.CONTENT_TYPE,
}

# Plain numbers: looking up a member of the enum costs more than the rest of its line.
_LENGTH, _DATE, _CONTENT_TYPE, _DROPPED, _REPLACED, _CODING, _CONNECTION, _UPGRADE = map(int, list(Kind)[1:])

_USUAL_TOKENS: Final = frozenset({b"", b"close", b"keep-alive"})
_NO_TOKENS: Final = frozenset[bytes]()

_kinds: dict[bytes, int] = {}


def classify(name: bytes) -> int:
    """The kind of a field name, as a number; remembered, since backends use few names."""
    if len(_kinds) >= NAMES_KEPT:
        _kinds.clear()  # names that never repeat must not pile up
    kind = _kinds[name] = int(_KINDS.get(name.lower(), Kind.PLAIN))
    return kind


class ResponseHeadError(ValueError):
    """The backend's head is malformed. The words are for our log only."""


class Head:
    """The end-to-end part of a backend's response head, shared by all responses with the same bytes: never changed.

    Stands in the place of WSGI's field list, and iterates as one: (name, value) as text.
    status: from 100 to 599. length: bytes of the body, None where that is unknown or the status forbids one.
    reusable: the connection lives on after the body. event_stream: server-sent events, which may be silent for long.
    A 101 is a switch to WebSocket; to anything else it is malformed, since we ask for nothing else.
    wire: the status line and the field lines, without the empty one. whole: length, where the head lacks nothing that
    an answer needs.

    [SECURITY] SecurityHeaders: the security fields are in from the start, whatever layers stand above.
    """

    __slots__ = ("event_stream", "framing", "has_date", "length", "reusable", "status", "status_text", "whole", "wire")

    def __init__(
        self,
        status: int,
        wire: bytes,
        framed: Framing,
        reusable: bool,  # noqa: FBT001
        has_date: bool,  # noqa: FBT001
        event_stream: bool,  # noqa: FBT001
    ) -> None:
        self.status = status
        self.status_text = write.wsgi_status(status)
        self.wire = wire
        self.framing = framed
        self.length = None if status in NO_BODY_STATUSES else framed.length
        self.reusable = reusable
        self.has_date = has_date
        self.whole = self.length if has_date else None
        self.event_stream = event_stream

    def __repr__(self) -> str:
        return f"<Head {self.status_text} {self.framing}>"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for line in self.wire.decode("latin-1").split("\r\n")[1:-1]:
            name, _, value = line.partition(":")
            yield name, value.strip(" \t")


class ResponseHeads:
    """Parses heads of backend responses."""

    def __init__(self) -> None:
        self.memo: Memo[Head] = Memo()

    def parse(self, raw: bytes) -> Head:
        """A head with the CRLF of its last field, without its empty line. Raises ResponseHeadError."""
        head = self.memo.new.get(raw) or self.memo.get(raw)  # the first half alone is the hot path
        if head is None:
            head = parse(raw)
            self.memo.offer(raw, head)
        return head


def parse(raw: bytes) -> Head:
    """As ResponseHeads.parse, without the memo."""
    line, _, section = raw.partition(b"\r\n")
    version, status = _status(line)
    try:
        fields = llhttp.response_fields(version, section)
    except llhttp.FieldSyntaxError as error:
        raise ResponseHeadError(str(error)) from error
    return _build(status, fields, section.split(b"\r\n"), http11=version == b"HTTP/1.1")


def _status(line: bytes) -> tuple[bytes, int]:
    """(version, status). [SECURITY] StatusLine: what llhttp lets pass is refused; the phrase is ours anyway."""
    match = STATUS_LINE.fullmatch(line)
    if match is None:
        raise ResponseHeadError(masked_text(f"status line {line[:40]!r}"))  # it may echo who asked
    return match[1], int(match[2])


def _build(status: int, fields: llhttp.Fields, lines: list[bytes], *, http11: bool) -> Head:
    """Llhttp refuses folded lines, so lines and fields are in step."""
    names, values = fields
    kinds = [*map(_kinds.get, names)]
    if None in kinds:
        kinds = [classify(name) for name in names]
    special: dict[int, bytes] = {}
    tokens = _NO_TOKENS
    for index in range(len(kinds) - 1, -1, -1):
        kind = kinds[index]
        if not kind:
            continue
        # Joined when there are several: two lengths or codings are then no number and no `chunked`.
        special[kind] = values[index] if kind not in special else b"%b,%b" % (values[index], special[kind])
        if kind >= _DROPPED:
            if kind == _CONNECTION:
                tokens |= _tokens(values[index])
            del lines[index]
    dropped = _stripped(status, tokens) if tokens or status == NO_CONTENT or status < FIRST_FINAL else _NO_TOKENS
    if dropped:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in dropped]
    wire = b"%b%b%b" % (write.status_line(write.wsgi_status(status)), b"\r\n".join(lines), SECURITY_WIRE)
    if status == SWITCHING:
        return _switch(wire, special, tokens, http11=http11)
    reusable = b"close" not in tokens and (http11 or b"keep-alive" in tokens)
    events = _CONTENT_TYPE in special and special[_CONTENT_TYPE].lower().startswith(b"text/event-stream")
    return Head(status, wire, _framing(special, http11=http11), reusable, _DATE in special, events)


def _switch(wire: bytes, special: dict[int, bytes], tokens: frozenset[bytes], *, http11: bool) -> Head:
    # [SECURITY] Switch: bytes go unread only after a backend agreed, in every word, to what we asked it for.
    if not http11 or b"upgrade" not in tokens or special.get(_UPGRADE, b"").strip(b" \t").lower() != b"websocket":
        raise ResponseHeadError("a 101 that does not switch to websocket")
    return Head(SWITCHING, wire + WEBSOCKET_UPGRADE, NO_BODY, False, _DATE in special, False)


def _framing(special: dict[int, bytes], *, http11: bool) -> Framing:
    length, coding = special.get(_LENGTH), special.get(_CODING)
    try:
        return framing.decide(
            (length,) if length is not None else (), (coding,) if coding is not None else (), http11=http11
        )
    except framing.FramingError as error:
        raise ResponseHeadError(str(error)) from error


@lru_cache(maxsize=256)
def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b","))


def _stripped(status: int, tokens: frozenset[bytes]) -> frozenset[bytes]:
    """The lower-case names that go beside the hop-by-hop ones."""
    # [SECURITY] HopByHop: whatever the backend's Connection names goes too, but not what frames the message.
    stripped = tokens - _USUAL_TOKENS - {b"content-length", b"date"} if tokens else tokens
    # RFC 9110 §8.6 forbids a length on a 204 and a 1xx, and some clients would wait for the bytes.
    return stripped | {b"content-length"} if status == NO_CONTENT or status < FIRST_FINAL else stripped
