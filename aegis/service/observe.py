"""Looks at all parts and publishes what it saw: the snapshot, its histories, and the events that only a look can tell.

Runs as a job. Changes nothing of what it looks at.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Final

from aegis.config.schema import Config
from aegis.events import Events, Kind
from aegis.logs.writer import LogWriter
from aegis.metrics.counters import Counters
from aegis.metrics.histogram import Percentiles
from aegis.metrics.snapshot import Board, Snapshot
from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends
from aegis.ratelimit.limiter import Limiter
from aegis.ratelimit.ticks import AdaptiveLoop
from aegis.service import views
from aegis.version import __version__

log = logging.getLogger("aegis")

HISTORY: Final = 60
"""Values that a history keeps, one a second."""

SECOND: Final = 1.0
SLICE: Final = 20
"""Backends whose percentiles are computed in one go: 2 ms at 1,000 samples each, in which no request is served."""

RENEWED: Final = 32
"""Backends whose percentiles are renewed a second: sorting 1,000 samples takes 80 µs, of 300 backends 2 % of a core."""

QUIET: Final = 10.0
"""Seconds between two events that say the same of an overload."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The parts that are looked at."""

    backends: Backends
    limiter: Limiter
    adaptive: AdaptiveLoop
    counters: Counters
    writer: LogWriter
    events: Events
    lateness: Mapping[str, float]  # of jobs, in seconds


@dataclass(slots=True)
class Seen:
    """What a look remembers of one backend."""

    latency: Percentiles = views.NO_SAMPLES
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    emptied: bool = False  # it was said that it is drained and empty


class Observer:
    """Whoever runs the process tells it `source`, `listen`, `server` once there is one, and the stages it enters."""

    def __init__(self, config: Config, parts: Observed, clock: Callable[[], float] = monotonic) -> None:
        self.config = config
        self.parts = parts
        self.clock = clock
        self.stage = "starting"
        self.source = ""
        self.listen = ""  # where clients really connect: a service manager may have opened another address
        self.server: views.Listening | None = None
        self.amend: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot  # what other processes know better
        self._started = self._looked = clock()
        self._rps = 0.0
        self._rps_history: deque[float] = deque(maxlen=HISTORY)
        self._seen = {state.backend.name: Seen() for state in parts.backends}
        self._renewed = 0  # where the next turn of `_renew` begins
        self._requests = self._evictions = self._pauses = self._dropped = 0
        self._said: dict[Kind, float] = {}
        self.board = Board(self.collect())

    def __repr__(self) -> str:
        return f"<Observer of {len(self._seen)} backends, {self.stage}>"

    def reconfigure(self, config: Config) -> None:
        """Go on by another configuration; histories of backends that stay are kept."""
        self.config = config

    def enter(self, stage: str) -> None:
        """The process entered a stage: that is shown at once."""
        self.stage = stage
        self.board.put(self.collect())

    def tick(self, pause: Callable[[], object] | None = None) -> None:
        """Look, and publish. Once a second the histories grow. pause: called now and then, to let others run."""
        now = self.clock()
        if now - self._looked >= SECOND * 0.95:
            self._advance(now, pause)
        self._tell(now)
        self.board.put(self.collect())

    def missing(self) -> str:
        """What keeps this process from being ready; "" when it is."""
        return views.missing(self.stage, self.parts.backends)

    def collect(self) -> Snapshot:
        """All of it as it is now, but for rates and percentiles, which are those of the last second."""
        parts, config, server = self.parts, self.config, self.server
        counters, missing = parts.counters, self.missing()
        return self.amend(
            Snapshot(
                time=time(),
                version=__version__,
                pid=os.getpid(),
                stage=self.stage,
                uptime=self.clock() - self._started,
                listen=self.listen,
                source=self.source,
                workers=1,
                ready=not missing,
                not_ready=missing,
                in_flight=0 if server is None else server.in_flight(),
                requests=counters.total,
                rps=self._rps,
                rps_history=tuple(self._rps_history),
                statuses=counters.statuses(),
                reasons=counters.reasons(),
                aborted=counters.aborted(),
                retries=counters.retries,
                connections=views.connections_view(server),
                backends=tuple(
                    views.backend_view(state, seen.latency, seen.history)
                    for state in parts.backends
                    for seen in (self._of(state.backend.name),)
                ),
                limiter=views.limiter_view(parts.limiter, config),
                adaptive=parts.adaptive.view(),
                logs_dropped=parts.writer.dropped,
                frames_skipped=counters.frames_skipped,
                hub_lag=parts.lateness.get("deadlines", 0.0),
                reloads=dict(counters.reloads),
            )
        )

    def _of(self, name: str) -> Seen:
        return self._seen.setdefault(name, Seen())

    def _advance(self, now: float, pause: Callable[[], object] | None) -> None:
        requests = self.parts.counters.total
        self._rps = (requests - self._requests) / (now - self._looked)
        self._requests, self._looked = requests, now
        self._rps_history.append(self._rps)
        states = self.parts.backends.states
        self._renew(states, now, pause)
        for state in states:
            seen = self._of(state.backend.name)
            seen.history.append(seen.latency.p95_ms or 0.0)
        for name in self._seen.keys() - {state.backend.name for state in states}:
            del self._seen[name]

    def _renew(self, states: Sequence[BackendState], now: float, pause: Callable[[], object] | None) -> None:
        """New percentiles, of some backends in turn where there are too many to sort all samples each second."""
        count = len(states)
        first = self._renewed % count if count else 0
        for number in range(min(count, RENEWED)):
            if pause is not None and number % SLICE == SLICE - 1:
                pause()
            state = states[(first + number) % count]
            self._of(state.backend.name).latency = state.window.percentiles(now)
        self._renewed = first + RENEWED

    # what no part can tell by itself

    def _tell(self, now: float) -> None:
        limiter, server = self.parts.limiter, self.server
        if limiter.evictions > self._evictions and self._may_say(Kind.EVICTIONS, now):
            words = "rate_limit.max_entries is reached: clients are forgotten, new ones start with one token"
            count, self._evictions = limiter.evictions - self._evictions, limiter.evictions
            self.parts.events.emit(Kind.EVICTIONS, words, level=logging.WARNING, evicted=count)
        if server is not None and server.pauses > self._pauses and self._may_say(Kind.PAUSED, now):
            words = "at max_connections and none is idle: accepting pauses"
            count, self._pauses = server.pauses - self._pauses, server.pauses
            limit = server.settings.max_connections
            self.parts.events.emit(Kind.PAUSED, words, level=logging.WARNING, pauses=count, max_connections=limit)
        if self.parts.writer.dropped > self._dropped and self._may_say(Kind.LOG, now):
            count, self._dropped = self.parts.writer.dropped - self._dropped, self.parts.writer.dropped
            log.warning("log lines were dropped: nobody took them in time", extra={"dropped": count})
        for state in self.parts.backends:
            seen = self._of(state.backend.name)
            empty = views.is_drained(state) and not state.in_flight
            if empty and not seen.emptied and state.drained:
                name = state.backend.name
                self.parts.events.emit(Kind.EMPTY, f"{name} is drained and empty", backend=name)
            seen.emptied = empty

    def _may_say(self, kind: Kind, now: float) -> bool:
        if now - self._said.get(kind, -QUIET) < QUIET:
            return False
        self._said[kind] = now
        return True
