"""Seeded generators of HTTP/1 messages, sound ones and ones that are a little off, for parsers to be compared on."""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NEXT = b"GET /next HTTP/1.1\r\nHost: next.test\r\n\r\n"

_METHODS = [
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"PUT",
    b"HEAD",
    b"OPTIONS",
    b"DELETE",
    b"FOO",
    b"get",
    b"CONNECT",
    b"G@T",
]
_TARGETS = [
    *(
        b"/",
        b"/",
        b"/a?b=c",
        b"/a/../b",
        b"*",
        b"http://a.test/x?y",
        b"http://a.test",
        b"HTTPS://A.test:443/",
        b"//",
        b"/%zz",
    ),
    *(b'/"<>\\^`{|}', b"/#", b"a", b"http://b.test/", b"http://u@a.test/", b"/a b", b"/\x80", b"/;p=1;q"),
]
_VERSIONS = [*[b"HTTP/1.1"] * 8, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1"]
_HOSTS = [
    *[b"Host: a.test"] * 8,
    b"host:a.test:443",
    b"HOST: \ta.test. ",
    b"Host: [::1]:80",
    b"Host:",
    b"Host: a@b",
    b"X: y",
]
_FIELDS = [
    *(b"Accept: */*", b"accept:b", b"X-A: 1", b"x-a: \t2 ", b"X-Empty:", b"Cookie: a=1; b=2", b"Cookie: c", b"X_A: 1"),
    *(
        b"Connection: close",
        b"Connection: keep-alive, X-A",
        b"Connection: ,x-empty,",
        b"connection: upgrade",
        b"TE: trailers",
    ),
    *(
        b"X-Obs: \x80\xff",
        b'X-Odd: "a,b";c={}',
        b"Keep-Alive: 5",
        b"Proxy-Connection: x",
        b"Trailer: X-T",
        b"Via: 1.0 b",
    ),
    *(b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=x", b"X-Request-ID: mine", b"X-Real-IP: x", b"X-Forwarded-Odd: x"),
    *(b"Expect: 100-continue", b"Expect: x", b"Upgrade: websocket", b"Upgrade: h2c", b"Sec-WebSocket-Key: k"),
    *(b"Sec-WebSocket-Version: 13", b"Connection: sec-websocket-version"),
    *(
        b"Content_Length: 9",
        b"X : 1",
        b" folded: 1",
        b"X: a\r\n b",
        b"X: \x01",
        b"X: a\nY: b",
        b"X: a\rb",
        b"No-Colon",
        b": x",
    ),
    *(
        b"Date: x",
        b"Server: theirs",
        b"Content-Type: text/plain",
        b"X-Powered-By: x",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
    ),
]
_ODD_FRAMING = [
    *(
        [b"Content-Length: +5"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length:"],
    ),
    *([b"Content-Length: 5", b"Content-Length: 6"], [b"Content-Length: 5", b"Transfer-Encoding: chunked"]),
    *([b"Transfer-Encoding: gzip, chunked"], [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
    *([b"Transfer-Encoding: identity"], [b"Transfer-Encoding: xchunked"], [b"Transfer-Encoding : chunked"]),
    *([b"Content-Length : 5"], [b"Content-Length: 0x5"], [b"Content-Length: 5\t"], [b"content-length:  005"]),
    *(
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"Content-Length: 99999999999999999999"],
    ),
]
_EXTENSIONS = [*[b""] * 6, b";a", b";a=b", b' ; a="x"', b";", b";\x80", b" ", b";a\n", b"\t"]
_TRAILERS = [
    *[b""] * 6,
    b"X-T: 1\r\n",
    b"X-T: 1\r\nX-U:\r\n",
    b"Content-Length: 5\r\n",
    b"Host: b\r\n",
    b"bad\r\n",
    b" X: y\r\n",
]
_BYTES = [
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\x80",
    b";",
    b"0",
    b"5",
    b"a",
    b"-",
    b",",
    b"_",
    b"chunked",
    b"#",
]
_STATUS_LINES = [
    *[b"HTTP/1.1 200 OK"] * 6,
    *(
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 404 Not Found",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 500",
    ),
    *(
        b"HTTP/1.1 599 X",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 \xe9",
        b"HTTP/1.1 600 X",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1  200 OK",
    ),
]


def rounds(few: int) -> Iterator[Random]:
    """One generator of randomness a round: `few` fixed ones, or new ones for SECONDS seconds when that is set."""
    seconds = float(os.environ.get("SECONDS", "0"))
    start, until, number = (time.time_ns() if seconds else 0), time.monotonic() + seconds, 0
    while number < few or time.monotonic() < until:
        yield Random(start + number)
        number += 1


def request(rng: Random) -> bytes:
    """A request, perhaps damaged, with another one behind it."""
    line = b" ".join((_pick(rng, _METHODS), _pick(rng, _TARGETS), _pick(rng, _VERSIONS)))
    return _damaged(rng, _message(rng, line, [_pick(rng, _HOSTS)]) + NEXT)


def response(rng: Random) -> bytes:
    """A response, perhaps damaged, perhaps with bytes behind it."""
    return _damaged(rng, _message(rng, _pick(rng, _STATUS_LINES), []) + rng.choice([b"", b"", NEXT]))


def _message(rng: Random, line: bytes, first: list[bytes]) -> bytes:
    framing, body = _body(rng)
    fields = [*first, *(_pick(rng, _FIELDS) for _ in range(rng.randint(0, 4))), *framing]
    rng.shuffle(fields)
    return b"\r\n".join([line, *fields, b"", b""]) + body


def _body(rng: Random) -> tuple[list[bytes], bytes]:
    """(framing fields, body bytes)"""
    data = rng.choice([b"", b"x", b"hello", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))])
    kind = rng.random()
    if kind < 0.25:
        return [], b""
    if kind < 0.5:
        return [rng.choice([b"Content-Length: %d", b"content-length:%d "]) % len(data)], data
    if kind < 0.85:
        return [rng.choice([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked"])], _chunked(rng, data)
    return list(rng.choice(_ODD_FRAMING)), rng.choice([data, _chunked(rng, data)])


def _chunked(rng: Random, data: bytes) -> bytes:
    out, step = b"", rng.randint(1, 20)
    for place in range(0, len(data), step):
        piece = data[place : place + step]
        size = rng.choice([b"%x", b"%X", b"0%x"]) % len(piece)
        out += size + rng.choice(_EXTENSIONS) + b"\r\n" + piece + b"\r\n"
    return out + b"0" + rng.choice(_EXTENSIONS) + b"\r\n" + rng.choice(_TRAILERS) + b"\r\n"


def _pick(rng: Random, choices: list[bytes]) -> bytes:
    """One of them; mostly out of the first half, where the sound ones stand."""
    return rng.choice(choices[: len(choices) // 2] if rng.random() < 0.85 else choices)


def _damaged(rng: Random, raw: bytes) -> bytes:
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2])):
        place, width = rng.randrange(len(raw)), rng.choice([0, 1, 1, 3])
        raw = raw[:place] + rng.choice([*_BYTES, b""]) + raw[place + width :]
    return raw
