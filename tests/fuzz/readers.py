"""One message as two parsers read it: Aegis's core and h11. None = refused, or not whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import h11

from aegis.http1 import head_buffer
from aegis.http1.chunked import ChunkError, ChunkReader
from aegis.http1.request_head import RequestHeads
from aegis.http1.request_line import without_secrets
from aegis.http1.response_head import ResponseHeadError, ResponseHeads
from aegis.reasons import Refused
from tests.proxy.toward_backend import of_the_client, request_head
from tests.support.contract import SECURITY_FIELDS

if TYPE_CHECKING:
    from random import Random

    from aegis.http1.framing import Framing

Fields = list[tuple[bytes, bytes]]

LIMIT = 8192
OURS = list(SECURITY_FIELDS.items())
HOP_BY_HOP = {
    *(
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
    ),
    *(b"trailers", b"transfer-encoding", b"upgrade"),
}
ALWAYS = {b"host", b"content-length", b"sec-websocket-key", b"sec-websocket-version"}
OUR_UPGRADE = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
CLAIMS = {b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"x-request-id"}


class Read(NamedTuple):
    """start: (method, target) or (status,). fields: as they go on, names in lower case. end: where the next begins."""

    start: tuple
    fields: Fields
    body: bytes
    end: int


# Aegis


def aegis_request(raw: bytes, heads: RequestHeads, rng: Random) -> Read | None:
    try:
        head = head_buffer.strip_empty_line(raw)
        end = head_buffer.find_end(head, LIMIT)
        if not end:
            return None
        method, target, block = heads.parse(head[:end])
        found = _body(block.framing, head, end + 2, rng)
    except (Refused, ChunkError):
        return None
    if found is None:
        return None
    _, toward = request_head(head[:end], heads)
    fields = [(name.lower(), value) for name, value in of_the_client(toward) if name.lower() != b"transfer-encoding"]
    if fields[-2:] == OUR_UPGRADE and block.websocket and method == "GET":  # what makes it a handshake is set by us
        del fields[-2:]
    return Read((method.encode(), target), fields, found[0], found[1] + len(raw) - len(head))


def aegis_response(raw: bytes, method: str, rng: Random) -> Read | None:
    end = raw.find(head_buffer.END)
    if end < 0:
        return None
    try:
        head = ResponseHeads().parse(raw[: end + 2])
        start = end + 4
        if method == "HEAD" or head.status in {204, 304}:
            found: tuple[bytes, int] | None = b"", start
        elif head.framing.chunked or head.framing.length is not None:
            found = _body(head.framing, raw, start, rng)
        else:
            found = raw[start:], len(raw)
    except (ResponseHeadError, ChunkError):
        return None
    if found is None:
        return None
    secured = list(head)
    assert secured[-len(OURS) :] == OURS
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in secured[: -len(OURS)]]
    return Read((head.status,), fields, *found)


def _body(framing: Framing, raw: bytes, start: int, rng: Random) -> tuple[bytes, int] | None:
    """(data, end of the body), read in pieces of random size; None while bytes are missing."""
    if not framing.chunked:
        end = start + (framing.length or 0)
        return (raw[start:end], end) if end <= len(raw) else None
    reader, data = ChunkReader(), b""
    while start < len(raw) and not reader.done:
        pieces, start = reader.feed(raw, start, min(len(raw), start + rng.choice([1, 2, 7, 1000])))
        data += b"".join(pieces)
    return (data, start) if reader.done else None


# h11


def h11_request(raw: bytes) -> Read | None:
    """As h11 reads it, and what the rules of forwarding leave of its fields."""
    connection = h11.Connection(h11.SERVER)
    found = _events(connection, raw)
    if found is None:
        return None
    event, body = found
    target = event.target
    if target[:1] not in {b"/", b"*"} and event.method != b"CONNECT":  # absolute form → origin form
        _, _, rest = target.partition(b"://")
        place = min((rest.index(mark) for mark in (b"/", b"?") if mark in rest), default=len(rest))
        target = rest[place:] or (b"*" if event.method == b"OPTIONS" else b"/")
        target = target if target[:1] in {b"/", b"*"} else b"/" + target
    if event.method == b"CONNECT" and target[:1] != b"/":
        target = without_secrets(target)  # it goes nowhere but into the log
    kept = _end_to_end(list(event.headers), {b"expect"}, always=ALWAYS)
    kept = [pair for pair in kept if not _is_claim(pair[0].replace(b"_", b"-"))]
    kept = [(name, b"%d" % int(value) if name == b"content-length" else value) for name, value in kept]
    return Read((event.method, target), kept, body, len(raw) - len(connection.trailing_data[0]))


def _is_claim(name: bytes) -> bool:
    return name in CLAIMS or name.startswith(b"x-forwarded-")


def h11_response(raw: bytes, method: str) -> Read | None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a.test")]))
    connection.send(h11.EndOfMessage())
    found = _events(connection, raw, closes=True)
    if found is None:
        return None
    event, body = found
    drop = {b"x-request-id", b"x-powered-by", *(name.lower().encode() for name, _ in OURS)}
    drop |= {*({b"content-length"} if event.status_code == 204 else ())}
    kept = _end_to_end(list(event.headers), drop, always={b"content-length", b"date"})
    return Read((event.status_code,), kept, body, len(raw) - len(connection.trailing_data[0]))


def _events(connection: h11.Connection, raw: bytes, *, closes: bool = False):
    """(first event, body) of one whole message."""
    start, body = None, b""
    try:
        connection.receive_data(raw)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA and closes:
                closes = False
                connection.receive_data(b"")
            elif isinstance(event, h11.Request | h11.Response):
                start = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return start, body
            else:  # not whole, an interim response, or another protocol
                return None
    except h11.RemoteProtocolError:
        return None


def _end_to_end(fields: Fields, drop: set[bytes], always: set[bytes]) -> Fields:
    """What of the fields is neither hop-by-hop nor named by Connection."""
    named = {
        token.strip(b" \t").lower() for name, value in fields if name == b"connection" for token in value.split(b",")
    }
    return [
        (name, value)
        for name, value in fields
        if name not in HOP_BY_HOP and name not in drop and (name in always or name not in named)
    ]
