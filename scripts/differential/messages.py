"""Bytes of the wire: heads, chunks, targets, fields, sound and damaged."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegis.config.schema import Retry
from aegis.context import Peer, RequestContext
from aegis.http1 import block as blocks
from aegis.http1 import framing, head_buffer, request_line, response_head, write
from aegis.http1.chunked import ChunkReader
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import Head, ResponseHeads
from aegis.pool.backends import Backends
from aegis.pool.balancer import WeightedRoundRobin
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.proxy.body import at_hand
from aegis.proxy.retry import Budget
from aegis.reasons import Refused
from aegis.security import forwarding, headers
from aegis.security.hosts import HostWhitelist
from aegis.security.validation import Validation, check_path
from aegis.wire.exchange import _foreign, full_environ
from tests.fuzz import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    Outcomes = Iterator[tuple[str, Callable[[], Any]]]

CASES = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "tests" / "cases").glob("*/*.http"))]
MOST = 8192

_ODD = [
    *(
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b"\x80",
        b"\xff",
        b"\xc3\xa9",
        b"_",
        b"#",
        b"?",
        b"/",
    ),
    *(b"%2e", b"%00", b"..", b"chunked", b"close", b"keep-alive", b"100-continue"),
    *(b"%d" % (1 << power) for power in (31, 32, 61, 62, 63, 64)),
    *(b"9223372036854775807", b"-1", b"+5", b"007", b"F" * 15, b"1" * 19, b"1" * 20, b"0" * 40),
]
_BLOCK = (
    *("fields", "http11", "keep_alive", "plain", "framing", "has_body", "host_name", "host_line", "forward", "host"),
    *("closes", "expects_continue", "upgrade", "websocket", "request_id", "claims"),
)
_HEAD = ("event_stream", "framing", "has_date", "length", "reusable", "status", "status_text", "whole", "wire")
PEER = Peer("192.0.2.7", "192.0.x.x", forwarding.untrusted_peer_fields("192.0.2.7", "http"), trusted=False)
TRUSTED = Peer("192.0.2.8", "192.0.x.x", b"", trusted=True)


def damaged(random: Random, raw: bytes) -> bytes:
    """The bytes with a few of them flipped, cut, doubled, or replaced by odd ones, or a field of another message."""
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        place = random.randrange(len(raw) + 1)
        kind = random.randrange(6)
        if kind == 0 and raw:
            place %= len(raw)
            raw = raw[:place] + bytes([raw[place] ^ 1 << random.randrange(8)]) + raw[place + 1 :]
        elif kind == 1:
            raw = raw[:place] + random.choice(_ODD) + raw[place + random.choice([0, 0, 1, 4]) :]
        elif kind == 2:
            lines = raw.split(b"\r\n")
            lines.insert(random.randrange(len(lines)), random.choice(lines))
            raw = b"\r\n".join(lines)
        elif kind == 3:
            lines, others = raw.split(b"\r\n"), random.choice(CASES)[:MOST].split(b"\r\n")
            lines.insert(random.randrange(len(lines)), random.choice(others))
            raw = b"\r\n".join(lines)
        elif kind == 4:
            raw = raw[:place] + raw[place + random.randrange(1, 30) :]
        else:
            raw = raw[:place] + random.choice(CASES)[:MOST][random.randrange(40) :]
    return raw


def request(random: Random) -> bytes:
    if random.random() < 0.4:
        return messages.request(random)
    return damaged(random, random.choice(CASES)[:20000])


def attributes(thing: Any, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    return [(name, getattr(thing, name)) for name in names]


_heads = RequestHeads()
_responses = ResponseHeads()
_validation = Validation(
    lambda _environ, _start_response: [],
    HostWhitelist(["a.test", "*.wild.test", "example.test"]),
    ["GET", "POST", "HEAD"],
    1 << 20,
)


def _request(data: bytes) -> Any:
    """As wire/connection does it, and all that is derived from the head."""
    head = head_buffer.strip_empty_line(data)
    end = head_buffer.find_end(head, MOST)
    if not end:
        return "incomplete"
    method, target, block = _heads.parse(head[:end])
    context = RequestContext("id", PEER, method, target, block, 1.0)
    environ = {"aegis.request": context}
    verdicts = _validation(environ, lambda *_: None), context.reason, context.detail, context.method, context.extra
    toward = [_proxy.request_head(_with(context, peer)) for peer in (PEER, TRUSTED)]
    shown = attributes(block, _BLOCK), sorted(block.stripped), repr(block), repr(context)
    return method, target, shown, verdicts, toward, sorted(full_environ({"a": 1}, context).items(), key=str)[1:]


_proxy = ProxyApp(WeightedRoundRobin(Backends([])), _responses, Timeouts(1.0, 1.0, 1.0), Budget(Retry(), int))


def _with(context: RequestContext, peer: Peer) -> RequestContext:
    context.peer = peer
    return context


def requests(random: Random) -> Outcomes:
    """A head three times: the third comes out of the memo."""
    data = request(random)
    for _ in range(3):
        yield repr(data), lambda: _request(data)
    yield "glimpse", lambda: request_line.glimpse(data)
    if random.random() < 0.01:
        _heads.memo.rotate()


def request_cuts(random: Random) -> Outcomes:
    """What is refused before the end has come, at every length."""
    data = request(random)[:200]
    yield repr(data), lambda: [_early(data[:cut]) for cut in range(len(data) + 1)]


def _early(data: bytes) -> Any:
    try:
        return head_buffer.find_end(head_buffer.strip_empty_line(data), 64)
    except Refused as refusal:
        return refusal.reason, refusal.detail


def _response(raw: bytes) -> Any:
    head = _responses.parse(raw)
    return _told(head)


def _told(head: Head) -> Any:
    return attributes(head, _HEAD), list(head), repr(head)


def responses(random: Random) -> Outcomes:
    raw = (
        messages.response(random)
        if random.random() < 0.6
        else b"HTTP/1.1 200 OK\r\n" + request(random).partition(b"\r\n")[2]
    )
    if random.random() < 0.3:
        raw = damaged(random, raw)
    end = raw.find(b"\r\n\r\n")
    head, rest = raw[: end + 2], raw[end + 4 :]
    for _ in range(3):
        yield repr(head), lambda: _response(head)
    method = random.choice(["GET", "HEAD", "POST"])
    yield repr(rest), lambda: _hand(head, rest, method)


def _hand(raw: bytes, rest: bytes, method: str) -> Any:
    whole = at_hand(_responses.parse(raw), rest, method)
    return whole if whole is None else ([bytes(piece) for piece in whole[0]], whole[1])


def chunks(random: Random) -> Outcomes:
    """A chunked body, at every cut in two when it is short, else in random pieces."""
    body = messages._chunked(random, random.choice([b"", b"hello", bytes(range(256)), b"x" * 3000]))
    data = damaged(random, body) + random.choice([b"", b"GET / HTTP/1.1\r\n"])
    if len(data) < 150:
        for cut in range(len(data) + 1):
            yield f"{data!r} at {cut}", lambda cut=cut: _chunks(data, [cut])
    else:
        cuts = sorted(random.randrange(len(data)) for _ in range(random.randrange(12)))
        yield f"{data!r} at {cuts}", lambda: _chunks(data, cuts)
    size = random.choice([b"%x" % random.getrandbits(random.randrange(1, 64)), *_ODD])
    line = size + random.choice([b"", b";a=b", b" ;", b";" + b"e" * random.choice([10, 16380, 17000])]) + b"\r\n"
    yield repr(line[:100]), lambda: _chunks(b"5\r\nhello\r\n" * random.choice([1, 1, 900]) + line + b"rest", [])


def _chunks(data: bytes, cuts: list[int]) -> Any:
    reader, pieces, stops = ChunkReader(), [], []
    bounds = [0, *cuts, len(data)]
    try:
        for start, end in pairwise(bounds):
            # As bytes and as a bytearray, whole and with an offset.
            given: Any = bytearray(data) if start % 2 else data
            found, stop = reader.feed(given, start, end)
            pieces += map(bytes, found)
            stops.append(stop)
    except ValueError as error:
        return (
            str(error),
            type(error).__name__,
            pieces,
            stops,
            reader.done,
            reader.total,
            repr(reader),
        )
    return pieces, stops, reader.done, reader.total, repr(reader)


def framings(random: Random) -> Outcomes:
    lengths = [_number(random) for _ in range(random.choice([0, 0, 1, 1, 1, 2]))]
    codings = [
        random.choice([b"chunked", b" Chunked\t", b"gzip", b"", b"chunked, chunked"])
        for _ in range(random.choice([0, 0, 0, 1, 2]))
    ]
    http11 = random.random() < 0.8
    yield f"{lengths} {codings} {http11}", lambda: framing.decide(lengths, codings, http11=http11)


def _number(random: Random) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return b"%d" % random.getrandbits(random.randrange(1, 80))
    return random.choice([b" 5\t", b"", b"5 5", *_ODD])


def lines(random: Random) -> Outcomes:
    """Request lines, targets, hosts, field names."""
    line = damaged(random, request(random).partition(b"\r\n")[0])[:300]
    yield repr(line), lambda: request_line.split(line)
    parts = line.split(b" ")
    target = parts[1] if len(parts) > 1 else line
    method = random.choice(["GET", "OPTIONS", "CONNECT", "FOO"])
    host = random.choice([b"a.test", b"A.test.:80", b"[::1]:80", b"b:99999", b"", damaged(random, b"a.test:80")])
    yield f"{target!r} {host!r}", lambda: request_line.check_target(method, target, host)
    yield "secrets", lambda: request_line.without_secrets(target)
    yield "method", lambda: request_line.check_method(parts[0])
    yield "host", lambda: request_line.host_name(host)
    name = damaged(random, random.choice([b"X-Forwarded-For", b"x_request_id", b"Connection", b"Host", b"X-Real-IP"]))
    yield repr(name), lambda: (blocks.classify(name), response_head.classify(name), repr(forwarding.fate(name.lower())))
    yield "key", lambda: blocks._environ_key(name.lower())
    claims = [(name, host), (b"X-Forwarded-For", target), (b"x-forwarded-proto", b"https")][: random.randrange(4)]
    yield repr(claims), lambda: forwarding.trusted_peer_fields(claims, "192.0.2.1", "http", host)


def paths(random: Random) -> Outcomes:
    pieces = [
        b"/",
        b"..",
        b".",
        b"%2e",
        b"%2E",
        b"%252e",
        b"%25",
        b"%",
        b"%00",
        b"%0a",
        b"%7f",
        b"\\",
        b"%5c",
        b";",
        b"a",
        b"?",
        b"%c3%a9",
        b"\xff",
        b"%2f",
    ]
    path = b"/" + b"".join(random.choice(pieces) for _ in range(random.randrange(12)))
    yield repr(path), lambda: check_path(path)


def fields(random: Random) -> Outcomes:
    """Field lists of an application."""
    texts = [
        "a",
        "Content-Length",
        "Date",
        "x: y",
        "é",
        "\r",
        "\n",
        "\u20ac",
        "Server",
        "5",
        "-1",
        "1_0",
        " 7 ",
        "",
        "X-Powered-By",
    ]
    pairs = [(random.choice(texts), random.choice(texts)) for _ in range(random.randrange(5))]
    yield repr(pairs), lambda: write.fields(pairs)
    yield "secured", lambda: headers.secured(pairs)
    yield "foreign", lambda: _foreign("200 OK", pairs)
    status = random.randrange(100, 700)
    yield str(status), lambda: (write.wsgi_status(status), write.status_line(write.wsgi_status(status)))
    data = random.randbytes(random.randrange(40))
    yield "chunk", lambda: (write.chunk(data), write.chunk(memoryview(data)))


SUBJECTS = {
    "requests": requests,
    "request_cuts": request_cuts,
    "responses": responses,
    "chunks": chunks,
    "framings": framings,
    "lines": lines,
    "paths": paths,
    "fields": fields,
}
