"""Typed events and their ring: one vocabulary for the dashboard, the logs and `/events`.

An event is something that a person may want to know of afterwards; what happens to every request is none.
"""

import logging
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from time import time
from typing import Final

import msgspec

log = logging.getLogger("aegis")

KEPT: Final = 512
"""Events that the ring remembers."""

Value = str | int | float | bool | None


class Kind(StrEnum):
    """What can happen."""

    BACKEND_UP = "backend_up"
    BACKEND_DOWN = "backend_down"
    WARM_UP = "warm_up"
    BREAKER = "breaker"  # any transition
    DRAIN = "drain"
    RESUME = "resume"
    EMPTY = "empty"  # a draining backend has no request in flight any more
    RESOLVED = "resolved"
    RESOLVE_REFUSED = "resolve_refused"
    RESOLVE_FAILED = "resolve_failed"
    ADAPTIVE = "adaptive"  # every decision of the loop
    CLIENT_LIMITED = "client_limited"
    CLIENT_RELIEVED = "client_relieved"
    EVICTIONS = "evictions"
    PAUSED = "paused"  # accepting stopped at max_connections
    RELOAD = "reload"
    RELOAD_FAILED = "reload_failed"
    WORKER = "worker"  # started, gone, crash loop
    LIFECYCLE = "lifecycle"  # started, stopping, stopped
    LOG = "log"  # a log line that came from no event, while the dashboard has the screen


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. Addresses of clients are masked before they get here."""

    number: int  # counts up from 1 in each process
    time: float  # seconds since the epoch
    kind: Kind
    level: str  # DEBUG, INFO, WARNING or ERROR
    message: str  # one line of words
    fields: dict[str, Value] = {}  # backend, error, rate, …: what the words were made from


class Events:
    """The last `kept` events. Each is logged as it comes, as a line of the same words and fields."""

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time) -> None:
        self._ring: deque[Event] = deque(maxlen=kept)
        self._clock = clock
        self._last = 0

    def __repr__(self) -> str:
        return f"<Events {len(self._ring)} kept of {self._last}>"

    def emit(self, kind: Kind, message: str, *, level: int = logging.INFO, **fields: Value) -> None:
        """Say that something happened. Neither blocks nor raises; may be called in the middle of a request."""
        self.append(kind, message, level, fields)
        log.log(level, message, extra={"event": str(kind), **fields})

    def append(self, kind: Kind, message: str, level: int, fields: dict[str, Value]) -> None:
        """Remember an event without logging it: what came from a log line, or from another process."""
        self._last += 1
        self._ring.append(
            Event(
                number=self._last,
                time=self._clock(),
                kind=kind,
                level=logging.getLevelName(level),
                message=message,
                fields=fields,
            )
        )

    def since(self, number: int = 0) -> list[Event]:
        """Those after `number` that are still remembered, the oldest first."""
        return [event for event in self._ring if event.number > number]
