"""The outermost layer: one access line per request, and the recovery of whatever fails below."""

import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic, time
from typing import Final

from aegis.context import KEY, Environ, RequestContext, StartResponse, WsgiApp
from aegis.logs.access_line import access_line, as_json, as_text
from aegis.logs.lines import AccessLine
from aegis.reasons import ClientGoneError, DeadlinePassedError, Reason

log = logging.getLogger(__name__)

Count = Callable[[RequestContext, float], None]
Put = Callable[[bytes, int], None]


BATCH: Final = 256
"""Lines made at once. One line in the middle of a request costs 3 µs, since all that it needs is cold by then; one of
many in a row costs a third."""


class AccessLog:
    """WSGI layer: asks wire to be told when the exchange is over, and answers 500 when a layer below has a bug.

    put takes finished lines and their number; count is told of every finished exchange and the seconds it took. Both
    happen in batches: `flush` does them for the requests that are over.
    """

    def __init__(self, app: WsgiApp, put: Put, count: Count, *, text: bool = False, enabled: bool = True) -> None:
        self.app = app
        self.put = put
        self.count = count
        self.on_end = self.keep  # made once, not for each request
        self._finished: list[RequestContext] = []
        self.reconfigure(text=text, enabled=enabled)

    def __repr__(self) -> str:
        return f"<AccessLog {len(self._finished)} lines to be made>"

    def reconfigure(self, *, text: bool, enabled: bool) -> None:
        """Go on with lines of this form, or with none."""
        self.flush()
        self.encode: Callable[[list[AccessLine]], bytes] = as_text if text else as_json
        # Access lines are part of the normal course: at a level above INFO none is made, but all is counted.
        self.enabled = enabled

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

    def keep(self, context: RequestContext) -> None:
        """Keep a finished request for the next batch."""
        context.ended = monotonic()
        finished = self._finished
        finished.append(context)
        if len(finished) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Count the requests that are over, make their lines, and queue those."""
        finished, self._finished = self._finished, []
        for context in finished:
            self.count(context, context.ended - context.started)
        if finished and self.enabled:
            wall = time() - monotonic()
            self.put(self.encode([access_line(context, wall) for context in finished]), len(finished))
