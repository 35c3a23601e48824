"""The sweep: one pass over all live streams that expires the late ones.

A deadline is a number on the stream, so arming one costs an attribute store. Timers per wait (`settimeout`,
`gevent.Timeout`) cost 15 % of the request rate.
"""

from collections.abc import Iterable
from time import monotonic
from typing import Final, Protocol

from gevent.hub import get_hub

NEVER: Final = float("inf")


class Expiring(Protocol):
    """What the sweep looks after: nearly always a stream."""

    deadline: float

    def expire(self) -> None:
        """Called in the hub once the deadline has passed; looks at it again, since it may have moved."""


class Deadlines:
    """All live streams of this process. `sweep` is called by a job; deadlines are monotonic seconds."""

    def __init__(self) -> None:
        self.streams: set[Expiring] = set()
        self._loop = get_hub().loop

    def __repr__(self) -> str:
        return f"<Deadlines {len(self.streams)} streams>"

    def sweep(self) -> None:
        """Ask the hub to expire every stream whose deadline has passed.

        Never throw from here: the sweep's own greenlet would not be scheduled again. `Stream.expire` runs in the
        hub and looks once more, since data may have come in the meantime.
        """
        now = monotonic()
        for stream in [stream for stream in self.streams if stream.deadline <= now]:
            self._loop.run_callback(stream.expire)


def sweep_interval(timeouts: Iterable[float]) -> float:
    """Seconds between two sweeps: an eighth of the smallest timeout, between 0.05 and 1.

    An expiry is late by up to one interval; a fixed one would make short timeouts off by a multiple of themselves.
    """
    return min(1.0, max(0.05, min(timeouts) / 8))
