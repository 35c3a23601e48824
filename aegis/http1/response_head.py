"""Heads of backend responses: raw bytes → an immutable `Head`, through a memo."""

from enum import IntEnum
from typing import Any, Final, NoReturn

from aegis.http1 import framing, llhttp, write
from aegis.http1.framing import Framing
from aegis.http1.memo import Memo
from aegis.security.forwarding import HOP_BY_HOP
from aegis.security.headers import REPLACED, SECURITY_FIELDS, SECURITY_WIRE

LARGEST_HEAD: Final = 64 * 1024
SWITCHING: Final = 101
NO_CONTENT: Final = 204
NAMES_KEPT: Final = 2048


class Kind(IntEnum):
    """What a response field means to the protocol itself."""

    PLAIN = 0
    DROPPED = 1  # hop-by-hop, or the backend's request id: ours is echoed
    REPLACED = 2  # by the security fields
    LENGTH = 3
    CODING = 4
    CONNECTION = 5
    DATE = 6
    CONTENT_TYPE = 7


_KINDS: Final = {
    **dict.fromkeys(HOP_BY_HOP, Kind.DROPPED),
    **dict.fromkeys(REPLACED, Kind.REPLACED),
    b"x-request-id": Kind.DROPPED,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"connection": Kind.CONNECTION,
    b"date": Kind.DATE,
    b"content-type": Kind.CONTENT_TYPE,
}

Name = tuple[Kind, bytes, str]
"""(kind, lower-case name, name as text)."""

Pair = tuple[bytes, bytes]

_names: dict[bytes, Name] = {}


def classify(name: bytes) -> Name:
    """What a field name means; remembered, since backends use few names."""
    known = _names.get(name)
    if known is None:
        if len(_names) >= NAMES_KEPT:
            _names.clear()  # names that never repeat must not pile up
        lower = name.lower()
        known = _names[name] = (_KINDS.get(lower, Kind.PLAIN), lower, name.decode("latin-1"))
    return known


class ResponseHeadError(ValueError):
    """The backend's head is malformed. The words are for our log only."""


class Head(list[tuple[str, str]]):
    """The end-to-end fields of a backend's response as WSGI wants them; shared by all responses with these bytes.

    status: from 100 to 599. reusable: the connection lives on after the body. event_stream: server-sent events, which
    may be silent for long. wire: the status line and the field lines, without the empty one. secured: the same head
    with the security fields in place of the backend's.
    """

    __slots__ = (
        "event_stream",
        "framing",
        "has_date",
        "http11",
        "reusable",
        "secured",
        "status",
        "status_text",
        "wire",
    )

    def __init__(self, status: int, fields: list[tuple[str, str]], wire: bytes) -> None:
        list.__init__(self, fields)
        self.status = status
        self.status_text = write.wsgi_status(status)
        self.wire = wire
        self.framing = Framing()
        self.reusable = False
        self.has_date = False
        self.http11 = True
        self.event_stream = False
        self.secured = self

    # Shared by all requests: a layer that mutates in place would poison everyone's answers.
    def _frozen(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a backend's head is shared and never changed: copy it with list(head)")

    append = extend = insert = remove = pop = clear = sort = reverse = _frozen
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _frozen


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
    status, version = _status(line)
    try:
        raw_fields = llhttp.response_fields(version, section)
    except llhttp.FieldSyntaxError as error:
        raise ResponseHeadError(str(error)) from error
    return _build(status, raw_fields, http11=version == b"HTTP/1.1")


def _status(line: bytes) -> tuple[int, bytes]:
    """[SECURITY] StatusLine: versions and codes that llhttp lets pass; the phrase is dropped, ours goes out."""
    version, digits = line[:8], line[9:12]
    well_formed = line[8:9] == b" " and line[12:13] in (b" ", b"") and digits.isdigit()
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not well_formed or not b"100" <= digits <= b"599":
        raise ResponseHeadError(f"status line {line[:40]!r}")
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise ResponseHeadError("a control byte in the status line")
    return int(digits), version


def _build(status: int, raw_fields: llhttp.RawFields, *, http11: bool) -> Head:
    special: dict[Kind, list[bytes]] = {}
    kept: list[tuple[Name, Pair]] = []
    for name, raw in raw_fields:
        known = classify(name)
        kind = known[0]
        value = raw.rstrip(b" \t")
        if kind >= Kind.LENGTH:
            special.setdefault(kind, []).append(value)
        if kind not in (Kind.DROPPED, Kind.CODING, Kind.CONNECTION):
            kept.append((known, (name, value)))
    tokens = _tokens(special)
    if tokens and not tokens <= _USUAL_TOKENS:
        # [SECURITY] HopByHop: whatever the backend's Connection names goes too, but not what frames the message.
        kept = [each for each in kept if each[0][1] not in tokens or each[0][0] in (Kind.LENGTH, Kind.DATE)]
    if status == NO_CONTENT:  # RFC 9110 §8.6 forbids a length there, and some clients would wait for the bytes
        kept = [each for each in kept if each[0][0] is not Kind.LENGTH]
    head = _head(status, kept)
    try:
        length = framing.decide(special.get(Kind.LENGTH, ()), special.get(Kind.CODING, ()), http11=http11)
    except framing.FramingError as error:
        raise ResponseHeadError(f"status {status}: {error}") from error
    for each in (head, head.secured):
        each.framing = length
        each.has_date = Kind.DATE in special
        each.http11 = http11
        each.reusable = b"close" not in tokens and (http11 or b"keep-alive" in tokens)
        each.event_stream = special.get(Kind.CONTENT_TYPE, [b""])[0].lower().startswith(b"text/event-stream")
    return head


_USUAL_TOKENS: Final = frozenset({b"close", b"keep-alive"})


def _tokens(special: dict[Kind, list[bytes]]) -> frozenset[bytes]:
    values = special.get(Kind.CONNECTION)
    if values is None:
        return frozenset()
    return frozenset(token.strip(b" \t").lower() for value in values for token in value.split(b","))


def _head(status: int, kept: list[tuple[Name, Pair]]) -> Head:
    """The head and its secured form."""
    line = write.status_line(write.wsgi_status(status))
    plain = [each for each in kept if each[0][0] is not Kind.REPLACED]
    lines = line + b"".join([b"%b: %b\r\n" % pair for _, pair in plain])
    texts = [(name[2], value.decode("latin-1")) for name, (_, value) in plain]
    secured = Head(status, [*texts, *SECURITY_FIELDS], lines + SECURITY_WIRE)
    if len(plain) != len(kept):
        replaced = [each for each in kept if each[0][0] is Kind.REPLACED]
        lines += b"".join([b"%b: %b\r\n" % pair for _, pair in replaced])
        texts += [(name[2], value.decode("latin-1")) for name, (_, value) in replaced]
    head = Head(status, texts, lines)
    head.secured = secured
    return head
