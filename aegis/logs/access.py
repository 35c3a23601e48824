"""The outermost layer: one access line per request, and the recovery of whatever fails below."""

import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic

import msgspec

from aegis.context import KEY, Environ, RequestContext, StartResponse, WsgiApp
from aegis.logs.lines import LONGEST_TEXT, cut, json_line, text_line, timestamp
from aegis.reasons import ClientGoneError, DeadlinePassedError, Reason

log = logging.getLogger(__name__)

Count = Callable[[RequestContext, float], None]


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """One request as it is logged. No query, no field values, no full address."""

    time: str
    level: str
    message: str
    request_id: str
    client: str
    method: str
    host: str
    path: str
    protocol: str
    status: int
    reason: str
    bytes_in: int
    bytes_out: int
    duration_ms: float
    backend: str | None
    backend_ms: float | None
    retries: int
    detail: str = ""


class AccessLog:
    """WSGI layer: asks wire to be told when the exchange is over, and answers 500 when a layer below has a bug.

    put takes finished lines; count is told of every finished exchange and the seconds it took.
    """

    def __init__(
        self, app: WsgiApp, put: Callable[[bytes], None], count: Count, *, text: bool = False, enabled: bool = True
    ) -> None:
        self.app = app
        self.put = put
        self.count = count
        self.encode = _text if text else json_line
        # Access lines are part of the normal course: at a level above INFO none is made, but all is counted.
        self.on_end = self.write if enabled else self.count_only

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        """PEP 3333."""
        context: RequestContext = environ[KEY]
        context.on_end = self.on_end
        app = self.app
        try:
            return app(environ, start_response)
        except (ClientGoneError, DeadlinePassedError, OSError):
            raise  # the client's side is gone or stuck: wire knows what to do
        except Exception:
            # [SECURITY] Recovery: a bug of ours costs one request and tells the client nothing.
            log.exception("a request failed inside Aegis", extra={"request_id": context.id})
            context.reason = Reason.INTERNAL_ERROR
            # Through the layers once more, by the door of every refusal, so that this answer has their fields too.
            return app(environ, partial(start_response, exc_info=sys.exc_info()))

    def count_only(self, context: RequestContext) -> None:
        """Count a finished request."""
        self.count(context, monotonic() - context.started)

    def write(self, context: RequestContext) -> None:
        """Count a finished request and queue its line."""
        seconds = monotonic() - context.started
        count = self.count
        count(context, seconds)
        block, path, backend, backend_ms = context.block, context.path, context.backend, context.backend_ms
        line = AccessLine(
            timestamp(),
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
            int(seconds * 1_000_000) / 1000,
            None if backend is None else backend.name,
            None if backend_ms is None else int(backend_ms * 1000) / 1000,
            context.attempts - 1 if context.attempts else 0,
            context.detail and cut(context.detail),
        )
        put, encode = self.put, self.encode  # called as locals: faster than methods kept in attributes
        put(encode(line))


def _text(line: AccessLine) -> bytes:
    return text_line(msgspec.structs.asdict(line))
