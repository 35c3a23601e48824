"""Heads of backend responses: raw bytes → an immutable `Head`, through a memo."""

from typing import Any, Final, NoReturn

from aegis.http1 import framing, llhttp, write
from aegis.http1.framing import Framing
from aegis.http1.memo import Memo
from aegis.security.forwarding import HOP_BY_HOP
from aegis.security.headers import REPLACED, SECURITY_FIELDS, SECURITY_WIRE

LARGEST_HEAD: Final = 64 * 1024
STATUS_LINE: Final = len(b"HTTP/1.1 200")
SWITCHING: Final = 101
NO_CONTENT: Final = 204
NAMES_KEPT: Final = 2048

_SPECIAL: Final = HOP_BY_HOP | REPLACED | {b"content-length", b"date", b"x-request-id"}

_names: dict[bytes, bytes] = {}


class ResponseHeadError(ValueError):
    """The backend's head is malformed. The words are for our log only."""


class Head(list[tuple[str, str]]):
    """The end-to-end fields of a backend's response as WSGI wants them; shared by all responses with these bytes.

    status: 100–599. reusable: the connection lives on after the body. wire: the status line and the field lines,
    without the empty one. event_stream: server-sent events, which may be silent for long. secured: the same head with the security fields in place of the backend's.
    """

    __slots__ = ("_secured", "event_stream", "framing", "has_date", "has_length", "http11", "reusable", "status", "status_text", "wire")

    def __init__(self, status: int, fields: list[tuple[str, str]], wire: bytes) -> None:
        list.__init__(self, fields)
        self.status = status
        self.status_text = write.wsgi_status(status)
        self.wire = wire
        self.framing = Framing()
        self.reusable = False
        self.has_date = False
        self.has_length = False
        self.http11 = True
        self.event_stream = False
        self._secured: Head | None = None

    @property
    def secured(self) -> "Head":
        """This head with the security fields."""
        return self if self._secured is None else self._secured

    # Shared by all requests: a layer that mutates in place would poison everyone's answers.
    def _frozen(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a backend's head is shared and never changed: copy it with list(head)")

    append = extend = insert = remove = pop = clear = sort = reverse = _frozen
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _frozen  # type: ignore[assignment]


class ResponseHeads:
    """Parses heads of backend responses."""

    def __init__(self) -> None:
        self.memo: Memo[Head] = Memo()

    def parse(self, raw: bytes) -> Head:
        """A head with the CRLF of its last field, without its empty line. Raises ResponseHeadError."""
        head = self.memo.get(raw)
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
    lengths: list[bytes] = []
    codings: list[bytes] = []
    tokens: list[bytes] = []
    plain: list[tuple[bytes, bytes]] = []
    replaced: list[tuple[bytes, bytes]] = []
    has_date = False
    for name, raw in raw_fields:
        value = raw.rstrip(b" \t")
        lower = _lower(name)
        if lower in _SPECIAL:
            if lower == b"date":
                has_date = True
            elif lower == b"content-length":
                lengths.append(value)
                if status == NO_CONTENT:
                    continue  # RFC 9110 §8.6 forbids it there, and some clients would wait for the bytes
            elif lower == b"transfer-encoding":
                codings.append(value)
                continue
            elif lower == b"connection":
                tokens.extend(token.strip(b" \t").lower() for token in value.split(b","))
                continue
            elif lower in REPLACED:
                replaced.append((name, value))
                continue
            else:
                continue  # hop-by-hop, or the backend's request id: ours is echoed
        plain.append((name, value))
    # [SECURITY] HopByHop: whatever the backend's Connection names goes too, but not what frames the message.
    if tokens and not {b"close", b"keep-alive"}.issuperset(tokens):
        named = frozenset(tokens) - {b"content-length", b"date"}
        plain = [(name, value) for name, value in plain if name.lower() not in named]
        replaced = [(name, value) for name, value in replaced if name.lower() not in named]
    head = _head(status, plain, replaced)
    head.framing = _framing(status, lengths, codings, http11=http11)
    head.has_date = has_date
    head.event_stream = any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in plain
    )
    head.has_length = head.framing.length is not None
    head.http11 = http11
    head.reusable = b"close" not in tokens and (http11 or b"keep-alive" in tokens)
    if head._secured is not None:  # noqa: SLF001 - both are ours
        _copy(head, head._secured)  # noqa: SLF001
    return head


def _lower(name: bytes) -> bytes:
    known = _names.get(name)
    if known is None:
        if len(_names) >= NAMES_KEPT:
            _names.clear()  # names that never repeat must not pile up
        known = _names[name] = name.lower()
    return known


def _head(status: int, plain: list[tuple[bytes, bytes]], replaced: list[tuple[bytes, bytes]]) -> Head:
    line = write.status_line(write.wsgi_status(status))
    lines = b"".join([b"%b: %b\r\n" % pair for pair in plain])
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in plain]
    head = Head(
        status,
        [*texts, *[(name.decode("latin-1"), value.decode("latin-1")) for name, value in replaced]],
        line + lines + b"".join([b"%b: %b\r\n" % pair for pair in replaced]),
    )
    head._secured = Head(status, [*texts, *SECURITY_FIELDS], line + lines + SECURITY_WIRE)  # noqa: SLF001
    return head


def _copy(head: Head, secured: Head) -> None:
    secured.framing, secured.reusable, secured.http11 = head.framing, head.reusable, head.http11
    secured.event_stream, secured.has_date, secured.has_length = head.event_stream, head.has_date, head.has_length


def _framing(status: int, lengths: list[bytes], codings: list[bytes], *, http11: bool) -> Framing:
    try:
        return framing.decide(lengths, codings, http11=http11)
    except framing.FramingError as error:
        raise ResponseHeadError(f"status {status}: {error}") from error
