"""Where a request head ends in what has come so far, and when it is refused before its end. Pure."""

from typing import Final

from aegis.http1 import request_line
from aegis.reasons import Reason, Refused

END: Final = b"\r\n\r\n"

TLS_HANDSHAKE: Final = b"\x16\x03"
"""What a TLS client begins with: a record of the handshake, of any version (RFC 8446 §5.1)."""


def strip_empty_line(buffer: bytes) -> bytes:
    """Take one empty line off the front (RFC 9112 §2.2); a second one is refused."""
    if not buffer.startswith(b"\r\n"):
        return buffer
    if buffer.startswith(b"\r\n\r\n"):
        raise Refused(Reason.BAD_REQUEST_LINE, "more than one empty line")
    return buffer[2:]


def find_end(buffer: bytes, limit: int) -> int:
    """Where the fields end (before their empty line's CRLF), or 0 while the head is incomplete.

    limit: bytes for request line and fields together. Raises Refused as soon as more bytes cannot mend it.
    """
    found = buffer.find(END)
    if found >= 0:
        if found + 2 > limit:
            raise _too_large(buffer, limit)
        return found + 2
    if len(buffer) > limit + 1:
        raise _too_large(buffer, limit)
    _refuse_early(buffer)
    return 0


def _too_large(buffer: bytes, limit: int) -> Refused:
    line = buffer.find(b"\r\n")
    if line < 0 or line > limit:
        return Refused(Reason.TARGET_TOO_LONG, f"no request line within {limit} bytes")
    return Refused(Reason.HEAD_TOO_LARGE, f"request line and fields over {limit} bytes")


def _refuse_early(buffer: bytes) -> None:
    """What is wrong already must not wait for a timeout: HTTP/0.9, bare LF, another protocol."""
    if buffer.startswith(TLS_HANDSHAKE):
        raise Refused(Reason.BAD_REQUEST_LINE, "looks like TLS, and this port speaks plain HTTP")
    line, crlf, rest = buffer.partition(b"\r\n")
    if crlf:
        request_line.split(line)
        if rest.count(b"\n") != rest.count(b"\r\n"):
            raise Refused(Reason.BAD_FIELD, "bare LF")
    elif b"\n" in line:
        raise Refused(Reason.BAD_REQUEST_LINE, "bare LF")
    elif line and not request_line.TOKEN.match(line) and line != b"\r":
        raise Refused(Reason.BAD_REQUEST_LINE, "no method")
