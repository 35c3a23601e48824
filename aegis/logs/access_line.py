"""What is logged of one request. Made from its context when it is over, off the path of the request itself."""

from collections.abc import Iterable

import msgspec

from aegis.context import RequestContext
from aegis.logs.lines import LONGEST_TEXT, AccessLine, cut, json_line, json_lines, text_line, timestamp


def access_line(context: RequestContext, wall: float) -> AccessLine:
    """The line of a finished request. wall: seconds from the clock of `started` to the epoch."""
    block, path, backend, backend_ms = context.block, context.path, context.backend, context.backend_ms
    return AccessLine(
        timestamp(context.ended + wall),
        "INFO",
        "request",
        context.id,
        context.peer.masked,
        context.method,
        block.host_name,
        path if len(path) <= LONGEST_TEXT else cut(path),
        "HTTP/1.1" if block.http11 else "HTTP/1.0",
        context.status,
        context.reason,
        context.bytes_in,
        context.bytes_out,
        int((context.ended - context.started) * 1_000_000) / 1000,
        None if backend is None else backend.name,
        None if backend_ms is None else int(backend_ms * 1000) / 1000,
        context.attempts - 1 if context.attempts else 0,
        context.detail and cut(context.detail),
    )


def as_json(lines: list[AccessLine]) -> bytes:
    """One JSON object a line."""
    try:
        return json_lines(lines)
    except UnicodeEncodeError:
        return b"".join(map(json_line, lines))


def as_text(lines: Iterable[AccessLine]) -> bytes:
    """`time LEVEL message key=value …` a line."""
    return b"".join(text_line(msgspec.structs.asdict(line)) for line in lines)
