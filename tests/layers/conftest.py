"""One security layer at a time, over real sockets, with nothing of the other seven around it."""

from __future__ import annotations

from tests.proxy.conftest import proxy
from tests.ratelimit.conftest import clock, events, limiter_of
from tests.wire.conftest import serve

__all__ = ["clock", "events", "limiter_of", "proxy", "serve"]  # what pytest finds here are fixtures
