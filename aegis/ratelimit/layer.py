"""The limiter as a WSGI layer: takes a token for every request and says in fields how many are left."""

from collections.abc import Iterable
from math import ceil
from typing import Final

from aegis.context import KEY, Environ, RequestContext, StartResponse, WsgiApp
from aegis.ratelimit.bucket import Terms
from aegis.ratelimit.limiter import Limiter
from aegis.reasons import OK, Reason

MOST_KNOWN: Final = 2048
"""Printed fields that are kept: a burst of the default size fits several times over."""


def fields_of(terms: Terms) -> bytes:
    """Both fields in wire form (draft-ietf-httpapi-ratelimit-headers), with %d for r and for t."""
    window = ceil(terms.burst / terms.rate)
    return b'RateLimit-Policy: "ip";q=%d;w=%d\r\nRateLimit: "ip";r=%%d;t=%%d\r\n' % (terms.burst, window)


class RateLimitLayer:
    """WSGI layer: a request over its client's limit is answered 429 by the innermost app, from the table of reasons.

    In shadow mode the limiter counts and the answers do not show that it is there.
    """

    def __init__(self, app: WsgiApp, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter
        self._terms = limiter.terms  # those that the fields speak of
        self._fields = fields_of(limiter.terms)
        self._known: dict[tuple[int, int], bytes] = {}  # the fields as they were printed before

    def __repr__(self) -> str:
        return f"<RateLimitLayer {self.limiter!r}>"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        """PEP 3333."""
        context: RequestContext = environ[KEY]
        # [SECURITY] RateLimit: what validation refused costs no token, or its sender could spend those of neighbours.
        if context.reason is OK:
            limiter = self.limiter
            # [SECURITY] RateLimit: the key is the TCP peer. Any field is the client's to choose: a new one for each
            # request would be a new bucket for each, somebody else's would empty theirs.
            address = context.peer.address
            allowed, left, seconds = limiter.take(limiter.key(address) if ":" in address else address)
            if not limiter.shadow:
                if limiter.terms is not self._terms:
                    self._renew(limiter.terms)
                fields = self._known.get((left, seconds))
                context.extra += self._print(left, seconds) if fields is None else fields
                if not allowed:
                    # [SECURITY] RateLimit: a 429 costs nothing, so who keeps asking waits no longer than it was told.
                    context.reason = Reason.RATE_LIMITED
                    context.extra += b"Retry-After: %d\r\n" % seconds
        app = self.app  # called as a local: a method call through an attribute is looked up in the class first
        return app(environ, start_response)

    def _renew(self, terms: Terms) -> None:
        self._terms, self._fields = terms, fields_of(terms)
        self._known.clear()

    def _print(self, left: int, seconds: int) -> bytes:
        """The fields for these numbers, kept for the next client with as many tokens: printing costs 0.4 µs."""
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        fields = self._known[left, seconds] = self._fields % (left, seconds)
        return fields
