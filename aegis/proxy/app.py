"""The innermost app of the stack: choose a backend, try it, stream its answer. The straight line of every request."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aegis.context import KEY, Environ, RequestContext, StartResponse
from aegis.proxy.attempt import Attempt, Timeouts
from aegis.proxy.body import ResponseBody, at_hand
from aegis.proxy.retry import may_retry
from aegis.reasons import ANSWERS, BackendError, Reason, Refused, Replay

if TYPE_CHECKING:
    from aegis.http1.response_head import Head, ResponseHeads
    from aegis.pool.backend import BackendState
    from aegis.pool.balancer import Policy

Body = Iterable[bytes | memoryview]


class ProxyApp:
    """Answers what the layers above let through, and, from the table of reasons, what they refused."""

    def __init__(self, policy: "Policy", heads: "ResponseHeads", timeouts: Timeouts, scheme: str = "http") -> None:
        self.policy = policy
        self.heads = heads
        self.timeouts = timeouts
        self.scheme = scheme

    def __call__(self, environ: Environ, start_response: StartResponse) -> Body:
        """PEP 3333."""
        context: RequestContext = environ[KEY]
        if context.reason is not Reason.OK:
            return refuse(context, start_response)
        try:
            return self._proxy(context, start_response)
        except (BackendError, Refused) as failure:
            context.reason, context.detail = failure.reason, failure.detail
        return refuse(context, start_response)

    def _proxy(self, context: RequestContext, start_response: StartResponse) -> Body:
        body = context.body
        # The first piece is taken before a backend is: one that does not come, or is malformed, costs no backend.
        piece = b"" if body is None else bytes(body.next_piece())
        request = self.request_head(context)
        before: BackendError | None = None
        refused: frozenset[BackendState] = frozenset()
        while True:
            state = self.policy.pick(refused)
            if state is None:
                raise before or BackendError(Reason.NO_BACKEND, "no backend is eligible")
            context.backend = state.backend
            context.attempts += 1
            # A replay goes over a fresh connection: the other parked ones have most likely died with the first.
            fresh = before is not None and before.replay is Replay.FRESH_CONNECTION
            attempt = Attempt(context, state, self.timeouts, fresh)
            try:
                head = attempt.run(request, piece, self.heads)
                response = self._response(attempt, head)
                start_response(head.status_text, head)
            except BackendError as error:
                attempt.finish(False)
                if not may_retry(context, error, replayed=fresh):
                    raise
                before = error
                if error.replay is Replay.ANOTHER_BACKEND:
                    refused |= {state}
            except BaseException:
                attempt.finish(False)
                raise
            else:
                return response

    def _response(self, attempt: Attempt, head: "Head") -> Body:
        """The body as far as it is here, its connection given back when that is all; else what streams it."""
        context, rest = attempt.context, attempt.rest
        if head.length == len(rest) and context.method != "HEAD":
            attempt.finish(head.reusable)  # the hot path: all of it came with the head
            response: Body = [rest]
        else:
            whole = at_hand(head, rest, context.method)
            if whole is None:
                response = self._streamed(context, attempt, head)
            else:
                response, exact = whole
                attempt.finish(exact and head.reusable)
        if attempt.upload_cut:
            context.close = True
        return response

    def _streamed(self, context: RequestContext, attempt: Attempt, head: "Head") -> ResponseBody:
        context.endless = head.event_stream
        patience = self.timeouts.stream_idle if head.event_stream else self.timeouts.read
        if attempt.stream is None:
            raise AssertionError("a response without a stream")
        return ResponseBody(context, attempt.stream, head, attempt.rest, patience, attempt.finish)

    def request_head(self, context: RequestContext) -> bytes:
        """The request's head toward any backend: the client's fields, then ours."""
        block, peer = context.block, context.peer
        of_peer, host_line = peer.forwarded, block.host_line
        if peer.trusted:
            of_peer, host_line = block.trusted_peer_fields(peer.address, self.scheme), b""
        return b"%b %b HTTP/1.1\r\n%b%b%b%b\r\n" % (
            context.method.encode(),
            context.target,
            block.forward,
            host_line,
            of_peer,
            context.id_line,
        )


def refuse(context: RequestContext, start_response: StartResponse) -> Body:
    """The one door for every refusal: status, JSON body and nothing else of what happened."""
    answer = ANSWERS[context.reason]
    body = answer.body
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if context.reason is Reason.NO_BACKEND:
        fields.append(("Retry-After", "1"))
    start_response(answer.status_line, fields)
    return [body]
