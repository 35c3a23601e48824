"""The innermost app of the stack: choose a backend, try it, stream its answer. The straight line of every request."""

from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from aegis.context import KEY, Environ, RequestContext, StartResponse
from aegis.http1.response_head import SWITCHING
from aegis.pool.backend import NotAdmittedError
from aegis.pool.balancer import NOBODY
from aegis.pool.breaker import FIRST_FAILURE
from aegis.proxy.attempt import Timeouts, attempt
from aegis.proxy.body import ResponseBody, at_hand
from aegis.proxy.retry import Budget, Retries
from aegis.proxy.tunnel import WebSocketTunnel
from aegis.reasons import ANSWERS, OK, BackendError, Reason, Refused

if TYPE_CHECKING:
    from aegis.http1.response_head import Head, ResponseHeads
    from aegis.pool.backend import BackendState
    from aegis.pool.balancer import Policy
    from aegis.transport.connection_pool import Connection

Body = Iterable[bytes | memoryview]


class ProxyApp:
    """Answers what the layers above let through, and, from the table of reasons, what they refused."""

    def __init__(
        self,
        policy: "Policy",
        heads: "ResponseHeads",
        timeouts: Timeouts,
        budget: Budget,
        scheme: str = "http",
        retry_after: Callable[[], int] = int,
    ) -> None:
        self.policy = policy
        self.heads = heads
        self.timeouts = timeouts
        self.budget = budget
        self.scheme = scheme
        self.retry_after = retry_after  # seconds until a backend may be there again

    def __call__(self, environ: Environ, start_response: StartResponse) -> Body:
        """PEP 3333."""
        context: RequestContext = environ[KEY]
        if context.reason is not OK:
            return refuse(context, start_response, self.retry_after)
        try:
            return self._proxy(context, start_response)
        except (BackendError, Refused) as failure:
            context.reason, context.detail = failure.reason, failure.detail
        return refuse(context, start_response, self.retry_after)

    def _proxy(self, context: RequestContext, start_response: StartResponse) -> Body:
        body = context.body
        # The first piece is taken before a backend is: one that does not come, or is malformed, costs no backend.
        piece = b"" if body is None else bytes(body.next_piece())
        request = self.request_head(context)
        retries: Retries | None = None
        fresh = False
        not_admitted = NOBODY
        state = self.policy.pick()
        if state is None:
            raise BackendError(Reason.NO_BACKEND, "no backend is eligible")
        while True:
            context.backend = state.backend
            try:
                connection = state.take(fresh)
            except NotAdmittedError:
                # Not asked again: whoever cannot give a permit may look as if he could until this turn is over.
                not_admitted |= {state}
                state = self.policy.pick(not_admitted)
                if state is None:
                    if retries is not None:
                        retries.end()
                    raise BackendError(Reason.NO_BACKEND, "no backend is eligible") from None
                continue
            context.attempts += 1
            try:
                head, rest = attempt(context, connection, request, piece, self.heads, self.timeouts)
                start_response(head.status_text, head)
                if head.length == len(rest) and context.method != "HEAD":
                    state.record(context.backend_ms or 0.0, context.answered)
                    state.give_back(connection, head.reusable and not context.close, head.status < FIRST_FAILURE)
                    if retries is not None:
                        retries.end()
                    return [rest]  # the hot path: all of it came with the head
                return self._rest(context, state, connection, head, rest, retries)
            except BackendError as error:
                self._failed(context, state, connection, error)
                retries = retries or Retries(self.budget, self.policy)
                state, fresh = retries.following(context, error, state)
            except BaseException:
                # The client left, or its body was refused: that says nothing of the backend.
                context.waits_on = None
                _end(state, connection, retries, False, None)
                raise

    def _failed(
        self, context: RequestContext, state: "BackendState", connection: "Connection", error: BackendError
    ) -> None:
        context.waits_on = None
        state.give_back(connection, False, False)
        if error.reason is Reason.BACKEND_TIMEOUT:  # counts as its timeout: it may have been a longer wait
            state.record(self.timeouts.response_header * 1000, monotonic())
        elif error.reason is Reason.BAD_GATEWAY_CONNECT:
            state.suspect = True  # every vetted address was tried

    def _rest(
        self,
        context: RequestContext,
        state: "BackendState",
        connection: "Connection",
        head: "Head",
        rest: bytes,
        retries: Retries | None,
    ) -> Body:
        """The body as far as it is here, its connection given back when that is all; else what streams it."""
        if head.status == SWITCHING:
            return self._tunnel(context, state, connection, rest, retries)
        state.record(context.backend_ms or 0.0, context.answered)
        whole = at_hand(head, rest, context.method)
        if whole is not None:
            response, exact = whole
            fit = exact and head.reusable and not context.close
            _end(state, connection, retries, fit, head.status < FIRST_FAILURE)
            return response
        stream = connection.stream
        if stream is None:
            raise AssertionError("a response without a stream")
        context.endless = head.event_stream
        if head.event_stream and head.status < FIRST_FAILURE:
            state.settle_early(connection)  # it may last for hours: neither a permit nor a place is held that long
            if retries is not None:
                retries.end()
        patience = self.timeouts.stream_idle if head.event_stream else self.timeouts.read
        return ResponseBody(context, stream, head, rest, patience, partial(_end, state, connection, retries))

    def _tunnel(
        self,
        context: RequestContext,
        state: "BackendState",
        connection: "Connection",
        rest: bytes,
        retries: Retries | None,
    ) -> WebSocketTunnel:
        """In flight until it is over, and no sample of the backend's latency."""
        stream, deadlines = connection.stream, connection.dial_settings.deadlines
        if stream is None:
            raise AssertionError("a 101 without a stream")
        context.endless = True
        # As an event stream, but that it says nothing to the breaker.
        state.settle_early(connection, succeeded=None)
        if retries is not None:
            retries.end()
        done = partial(state.give_back, connection, False, None)
        return WebSocketTunnel(context, stream, rest, self.timeouts.stream_idle, deadlines, done)

    def request_head(self, context: RequestContext) -> bytes:
        """The request's head toward any backend: the client's fields, then ours."""
        block, peer = context.block, context.peer
        of_peer, host_line = peer.forwarded, block.host_line
        if peer.trusted:
            of_peer, host_line = block.trusted_peer_fields(peer.address, self.scheme), b""
        return b"".join(
            (
                context.method.encode(),
                b" ",
                context.target,
                b" HTTP/1.1\r\n",
                block.forward,
                host_line,
                of_peer,
                context.id_line,
                b"\r\n",
            )
        )


def _end(
    state: "BackendState",
    connection: "Connection",
    retries: Retries | None,
    fit: bool,  # noqa: FBT001
    succeeded: bool | None,  # noqa: FBT001
) -> None:
    """An attempt is over."""
    state.give_back(connection, fit, succeeded)
    if retries is not None:
        retries.end()


def refuse(context: RequestContext, start_response: StartResponse, retry_after: Callable[[], int] = int) -> Body:
    """The one door for every refusal: status, JSON body and nothing else of what happened."""
    answer = ANSWERS[context.reason]
    body = answer.body
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if context.reason is Reason.NO_BACKEND:
        fields.append(("Retry-After", str(max(1, retry_after()))))
    start_response(answer.status_line, fields)
    return [body]
