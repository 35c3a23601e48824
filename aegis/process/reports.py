"""What a worker tells the control process: what it counted since it last did, how things stand, and its events.

A message is a datagram that stands for itself: one that could not be sent is part of the next one, and the death of
either side costs at most what was not sent yet.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from aegis.events import Event, Events, Kind
from aegis.metrics.counters import Counters
from aegis.metrics.histogram import Histogram
from aegis.metrics.window import LatencyWindow
from aegis.pool.backend import BackendState
from aegis.ratelimit.limiter import Limiter
from aegis.wire.server import Server

INTERVAL: Final = 0.25
"""Seconds from one report to the next."""

AT_ONCE: Final = 16
"""Backends in one message."""

MOST_SAMPLES: Final = 500
"""Latencies of one backend in it: 80 KB in all, and a datagram may have 200."""

LARGEST: Final = 262_144

SUPERVISOR: Final = -1


class Timings(msgspec.Struct, array_like=True, frozen=True):
    """A histogram, or what was added to one."""

    buckets: list[int]
    seconds: float

    def histogram(self) -> Histogram:
        """The same as the rest of Aegis knows it."""
        made = Histogram()
        made.buckets, made.seconds = self.buckets, self.seconds
        return made


class OfBackend(msgspec.Struct, array_like=True, frozen=True):
    """One backend. Numbers since the last report, but for `in_flight` and `connections`."""

    name: str
    in_flight: int
    connections: int
    requests: int
    failures: int
    suspect: bool
    recorded: int
    samples: list[float]  # the last of those recorded, ms
    timings: Timings


class OfWorker(msgspec.Struct, array_like=True, frozen=True):
    """The worker itself. Counted since the last report, then as it stands."""

    requests: list[tuple[int, str, str, int]]
    durations: Timings
    retries: int
    limited: tuple[int, int, int, int]  # allowed, limited, shadow-limited, evictions
    connections: tuple[int, int, int]  # accepted, idle evicted, pauses
    dropped: int
    open: int
    in_flight: int
    waiting: int
    tracked: int
    lag: float


class Message(msgspec.Struct, array_like=True, frozen=True):
    """One datagram."""

    worker: int  # or SUPERVISOR, of events alone
    pid: int
    own: OfWorker | None = None
    backends: list[OfBackend] = []
    event: Event | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Message).decode


def mailbox() -> tuple[socket.socket, socket.socket]:
    """(where control reads, where one worker writes). Whole messages; a full one refuses instead of waiting."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (theirs, ours):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    return theirs, ours


def send(box: socket.socket, message: Message) -> bool:
    """False when there is no room for it now."""
    try:
        box.send(_encode(message))
    except (BlockingIOError, ConnectionError, OSError):
        return False
    return True


def receive(box: socket.socket) -> Iterator[Message]:
    """What has come."""
    while True:
        try:
            data = box.recv(LARGEST)
        except BlockingIOError:
            return
        yield _decode(data)


class ForwardedEvents(Events):
    """The events of a worker: logged here, and sent to the ring that a person looks at."""

    def __init__(self, box: socket.socket, worker: int, pid: int) -> None:
        super().__init__()
        self._box = box
        self._worker, self._process = worker, pid

    def append(self, kind: Kind, message: str, level: int, fields: dict[str, str | int | float | bool | None]) -> None:
        """As Events.append; one that finds no room is in the log alone."""
        super().append(kind, message, level, fields)
        if kind is not Kind.LIFECYCLE:
            send(self._box, Message(self._worker, self._process, event=self.since(self._last - 1)[-1]))


class Reporter:
    """Makes and sends the reports of one worker; `tick` runs as a job and never waits."""

    def __init__(
        self,
        box: socket.socket,
        worker: int,
        pid: int,
        *,
        backends: Callable[[], Sequence[BackendState]],
        counters: Counters,
        limiter: Limiter,
        server: Server,
        dropped: Callable[[], int],
        lag: Callable[[], float],
    ) -> None:
        self._box, self._worker, self._pid = box, worker, pid
        self._backends = backends
        self._counters, self._limiter, self._server = counters, limiter, server
        self._dropped, self._lag = dropped, lag
        self._told = _Totals()
        self._told_of: dict[str, _BackendTotals] = {}

    def __repr__(self) -> str:
        return f"<Reporter of worker {self._worker}>"

    def tick(self) -> None:
        """One report."""
        now = self._totals()
        own = self._own(now)
        if not send(self._box, Message(self._worker, self._pid, own=own)):
            return
        self._told = now
        states = self._backends()
        for start in range(0, len(states), AT_ONCE):
            some = [(state, _BackendTotals(state)) for state in states[start : start + AT_ONCE]]
            told = [self._of(state, totals) for state, totals in some]
            if not send(self._box, Message(self._worker, self._pid, backends=told)):
                return
            for state, totals in some:
                self._told_of[state.backend.name] = totals
                state.suspect = False

    def _totals(self) -> "_Totals":
        counters, limiter, server = self._counters, self._limiter, self._server
        return _Totals(
            requests=dict(counters.requests),
            buckets=list(counters.durations.buckets),
            seconds=counters.durations.seconds,
            retries=counters.retries,
            limited=(limiter.allowed, limiter.limited, limiter.shadow_limited, limiter.evictions),
            connections=(server.accepted, server.evicted, server.pauses),
            dropped=self._dropped(),
        )

    def _own(self, now: "_Totals") -> OfWorker:
        told, server = self._told, self._server
        return OfWorker(
            requests=[
                (*key, count - told.requests.get(key, 0))
                for key, count in now.requests.items()
                if count != told.requests.get(key, 0)
            ],
            durations=Timings(_less(now.buckets, told.buckets), now.seconds - told.seconds),
            retries=now.retries - told.retries,
            limited=tuple(_less(now.limited, told.limited)),  # type: ignore[arg-type]
            connections=tuple(_less(now.connections, told.connections)),  # type: ignore[arg-type]
            dropped=now.dropped - told.dropped,
            open=server.open,
            in_flight=server.in_flight(),
            waiting=0 if server.closed else server.waiting(),
            tracked=self._limiter.tracked,
            lag=self._lag(),
        )

    def _of(self, state: BackendState, now: "_BackendTotals") -> OfBackend:
        told = self._told_of.get(state.backend.name)
        if told is None or told.window is not now.window:
            told = _BackendTotals(None)
        recorded = now.recorded - told.recorded
        return OfBackend(
            name=state.backend.name,
            in_flight=state.in_flight,
            connections=state.in_flight + len(state.connections.idle()),
            requests=now.requests - told.requests,
            failures=now.failures - told.failures,
            suspect=state.suspect,
            recorded=recorded,
            samples=state.window.newest(min(recorded, MOST_SAMPLES)),
            timings=Timings(_less(now.buckets, told.buckets), now.seconds - told.seconds),
        )


class _Totals:
    """What a worker has counted so far."""

    def __init__(
        self,
        *,
        requests: dict[tuple[int, str, str], int] | None = None,
        buckets: Sequence[int] = (),
        seconds: float = 0.0,
        retries: int = 0,
        limited: Sequence[int] = (0, 0, 0, 0),
        connections: Sequence[int] = (0, 0, 0),
        dropped: int = 0,
    ) -> None:
        self.requests = requests or {}
        self.buckets = buckets or Histogram().buckets
        self.seconds, self.retries, self.dropped = seconds, retries, dropped
        self.limited, self.connections = limited, connections


class _BackendTotals:
    """What it has counted of one backend so far; None = nothing yet."""

    def __init__(self, state: BackendState | None) -> None:
        self.window: LatencyWindow | None = None
        self.requests = self.failures = self.recorded = 0
        self.buckets, self.seconds = Histogram().buckets, 0.0
        if state is not None:
            self.window = state.window
            self.requests, self.failures = state.connections.num_requests, state.failures
            self.recorded = state.window.total
            histogram = state.window.histogram
            self.buckets, self.seconds = list(histogram.buckets), histogram.seconds


def _less(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return [one - other for one, other in zip(now, before, strict=True)]
