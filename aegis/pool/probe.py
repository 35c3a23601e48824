"""One probe of one backend: `GET path` over a connection of its own to the vetted address. What follows is not ours."""

from typing import TYPE_CHECKING, Final

import gevent

from aegis.config.schema import HealthCheck
from aegis.http1 import response_head
from aegis.http1.chunked import ChunkError, ChunkReader
from aegis.http1.framing import NO_BODY_STATUSES
from aegis.http1.head_buffer import END
from aegis.http1.response_head import LARGEST_HEAD, Head, ResponseHeadError
from aegis.reasons import BackendError
from aegis.version import __version__

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.pool.backend import Backend
    from aegis.transport.connection_pool import BackendPool

LARGEST_BODY: Final = 64 * 1024
"""Bytes of the body that are read at most; what comes behind them is nobody's concern."""

PIECE: Final = 16 * 1024
FIRST_FINAL: Final = 200
NOT_FOUND: Final = 404
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class ProbeFailedError(Exception):
    """The words say why, for people."""


class _TooLateError(Exception):
    """Our own timer went off."""


def probe(backend: "Backend", connections: "BackendPool", section: HealthCheck) -> None:
    """One probe; never takes longer than `timeout`. Raises ProbeFailedError, and ExhaustedError as a connect does."""
    try:
        with gevent.Timeout(section.timeout, _TooLateError):
            _ask(backend, connections, section)
    except _TooLateError:
        raise ProbeFailedError(f"no whole answer to GET {section.path} within {section.timeout}") from None
    except BackendError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise ProbeFailedError(f"cannot connect to {backend.host}:{backend.port}: {reason}") from error


def _ask(backend: "Backend", connections: "BackendPool", section: HealthCheck) -> None:
    connection = connections.open_apart()
    try:
        stream = connection.stream
        if stream is None:
            raise AssertionError("an open connection without a stream")
        stream.send_all(request(backend, section.path), section.timeout)
        head, rest = _head(stream, b"")
        _judge(head.status, section.path)
        _read_body(stream, head, rest)
    except (OSError, ResponseHeadError, ChunkError) as error:
        raise ProbeFailedError(f"GET {section.path} got no proper answer: {error}") from error
    finally:
        connection.close()


def request(backend: "Backend", path: str) -> bytes:
    """The whole request."""
    host = f"[{backend.host}]" if ":" in backend.host else backend.host
    if backend.port != DEFAULT_PORTS[backend.scheme]:
        host = f"{host}:{backend.port}"
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", f"User-Agent: aegis-health/{__version__}", "Connection: close")
    return "\r\n".join((*lines, "", "")).encode()


def _head(stream: "Stream", data: bytes) -> tuple[Head, bytes]:
    """The final answer's head, and what came behind it."""
    while True:
        while (end := data.find(END)) < 0 and len(data) <= LARGEST_HEAD:
            data += _more(stream)
        if not 0 <= end <= LARGEST_HEAD:
            raise ResponseHeadError(f"head over {LARGEST_HEAD} bytes")
        head = response_head.parse(data[: end + 2])
        data = data[end + len(END) :]
        if head.status >= FIRST_FINAL:
            return head, data


def _judge(status: int, path: str) -> None:
    if 200 <= status < 300:  # noqa: PLR2004 - what 2xx means
        return
    words = f"GET {path} answered {status}"
    if status == NOT_FOUND:
        words += ": set health_check.path"
    elif 300 <= status < 400:  # noqa: PLR2004 - what 3xx means
        words += ", and probes follow no redirects: set health_check.path"
    raise ProbeFailedError(words)


def _read_body(stream: "Stream", head: Head, rest: bytes) -> None:
    """Read to the end of the message or to LARGEST_BODY: one that breaks off before is no pass."""
    length, chunked = head.framing.length, head.framing.chunked
    if head.status in NO_BODY_STATUSES:
        return
    reader, data, count = ChunkReader(frozenset()), rest, len(rest)
    while count < LARGEST_BODY and (length is None or count < length):
        if chunked:
            reader.feed(data, 0, len(data))
            if reader.done:
                return
        data = bytes(stream.read_some(PIECE))
        if not data and not chunked and length is None:
            return  # it ends with the connection
        if not data:
            raise OSError("closed before its answer was whole")
        count += len(data)


def _more(stream: "Stream") -> bytes:
    data = stream.read_some(PIECE)
    if not data:
        raise OSError("closed before its answer was whole")
    return data
