"""Chunked bodies (RFC 9112 §7.1), strict, for both sides. Sans-I/O.

An own reader, since a parser primed with a chunked head gives no end offset: what is pipelined behind the last chunk
would be read as its next message.
"""

import re
from typing import Final

from aegis.http1 import llhttp

SIZE_LINE: Final = re.compile(rb"(0*)([0-9A-Fa-f]{0,15})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
LONGEST_LINE: Final = 16 * 1024
LARGEST_TRAILERS: Final = 8 * 1024
FREE_OVERHEAD: Final = 16 * 1024
LAST_CHUNK: Final = b"0\r\n\r\n"

# [SECURITY] Trailers: what routes, frames or authorises a message has no place behind its body (RFC 9110 §6.5.1).
FORBIDDEN_TRAILERS: Final = frozenset(
    {
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"connection",
        b"upgrade",
        b"te",
        b"trailer",
        b"expect",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"www-authenticate",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"cache-control",
        b"max-forwards",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)


class ChunkError(ValueError):
    """The framing is malformed or costs too much."""


class ChunkReader:
    """Feed it what came; it gives the data back in pieces and knows where the body ends.

    done: the last chunk and the trailers are through. total: data bytes declared so far, the current chunk's whole
    size included, so that a limit can be judged before the data comes. Trailers are checked and dropped.
    """

    __slots__ = ("_forbidden", "_left", "_line", "_overhead", "_trailers", "done", "total")

    def __init__(self, forbidden: frozenset[bytes] = FORBIDDEN_TRAILERS) -> None:
        self._forbidden = forbidden  # trailer names that are refused; the others are dropped
        self.done = False
        self.total = 0
        self._left = 0  # data bytes of this chunk and its CRLF still to come: above 2 data, then the CRLF
        self._line = b""  # an unfinished size line or trailer section
        self._overhead = 0  # extension, zero and trailer bytes
        self._trailers = False

    def __repr__(self) -> str:
        return f"<ChunkReader {'done' if self.done else f'{self._left} left'} of {self.total}>"

    def feed(self, data: bytes | bytearray, start: int, end: int) -> tuple[list[memoryview], int]:
        """(pieces of data, where reading stopped). It stops at `end`, or behind the body when that is done.

        Raises ChunkError. The pieces are views into `data`.
        """
        pieces: list[memoryview] = []
        view = memoryview(data)
        position = start
        while position < end and not self.done:
            if self._left > 2:  # noqa: PLR2004 - the CRLF behind the data
                stop = min(end, position + self._left - 2)
                pieces.append(view[position:stop])
                self._left -= stop - position
                position = stop
            elif self._left:
                position = self._crlf(data, position)
            else:
                position = self._next_line(data, position, end)
        return pieces, position

    def _crlf(self, data: bytes | bytearray, position: int) -> int:
        if data[position] != b"\r\n"[2 - self._left]:
            raise ChunkError("chunk data without its CRLF")
        self._left -= 1
        return position + 1

    def _next_line(self, data: bytes | bytearray, position: int, end: int) -> int:
        found = data.find(b"\n", position, end)
        stop = end if found < 0 else found + 1
        self._line += data[position:stop]
        if len(self._line) > LONGEST_LINE:
            raise ChunkError("a line of the chunk framing is too long")
        if found >= 0:
            if not self._line.endswith(b"\r\n"):
                raise ChunkError("bare LF in the chunk framing")
            self._end_of_line()
        return stop

    def _end_of_line(self) -> None:
        if self._trailers:
            self._trailer_line()
            return
        match = SIZE_LINE.fullmatch(self._line[:-2])
        if match is None or not (match[1] or match[2]):
            raise ChunkError("malformed chunk size")
        size = int(match[2] or b"0", 16)
        self._spend(len(match[1]) + len(match[3]) - (not size))
        self.total += size
        self._line = b""
        if size:
            self._left = size + 2
        else:
            self._trailers = True

    def _trailer_line(self) -> None:
        if not (self._line == b"\r\n" or self._line.endswith(b"\r\n\r\n")):
            if len(self._line) > LARGEST_TRAILERS:
                raise ChunkError("the trailers are too large")
            return  # go on collecting the section
        self._spend(len(self._line) - 2)
        self._check_trailers(self._line[:-2])
        self._line = b""
        self.done = True

    def _check_trailers(self, section: bytes) -> None:
        if not section:
            return
        try:
            names, _ = llhttp.response_fields(b"HTTP/1.1", section)
        except llhttp.FieldSyntaxError as error:
            raise ChunkError(f"malformed trailer: {error}") from error
        for name in names:
            if name.lower() in self._forbidden:
                raise ChunkError("a trailer that may not stand behind a body")

    def _spend(self, overhead: int) -> None:
        # [SECURITY] ChunkOverhead: extensions and zeros cost us time and the limits nothing, so they have their own.
        self._overhead += overhead
        if self._overhead > FREE_OVERHEAD + self.total // 8:
            raise ChunkError("the chunk framing costs more than its data")
