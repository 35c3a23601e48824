"""All workers as one: what they report, counted into the parts of the control process and shown as one Aegis."""

import logging
from time import monotonic

from msgspec.structs import replace

from aegis.events import Kind
from aegis.metrics.snapshot import Snapshot
from aegis.process.reports import SUPERVISOR, Message, OfBackend, OfWorker
from aegis.service.parts import Parts
from aegis.wire.server import WireSettings


class Crowd:
    """Stands for the one server that this process has not. pids: who is in each worker's place; 0 = nobody."""

    def __init__(self, parts: Parts, settings: WireSettings, workers: int) -> None:
        self.settings = settings
        self.closed = False
        self.accepted = self.evicted = self.pauses = 0
        self.dropped = 0
        self.pids = [0] * workers
        self._known = set[int]()  # places in which somebody has served
        self._parts = parts
        self._standing: dict[int, OfWorker] = {}  # how things stand with each
        self._of_backends: dict[str, dict[int, OfBackend]] = {}

    def __repr__(self) -> str:
        return f"<Crowd of {len(self._standing)} workers, {self.open} connections>"

    # as a server says it

    @property
    def open(self) -> int:
        """Connections of clients."""
        return sum(own.open for own in self._standing.values())

    def waiting(self) -> int:
        """Connections that the kernel holds."""
        return sum(own.waiting for own in self._standing.values())

    def in_flight(self) -> int:
        """Requests under way."""
        return sum(own.in_flight for own in self._standing.values())

    # what happens to workers

    def replace(self, index: int, pid: int) -> None:
        """Another one is in this place, or nobody: what stood with the last one is gone."""
        events, before = self._parts.events, self.pids[index]
        if before:
            words = f"worker {index} is gone" if not pid else f"worker {index} was replaced"
            events.emit(Kind.WORKER, words, level=logging.WARNING, worker=index, pid=before)
        if pid:
            self._serves(index, pid)
        self.pids[index] = pid
        self._standing.pop(index, None)
        for told in self._of_backends.values():
            told.pop(index, None)

    def _serves(self, index: int, pid: int) -> None:
        words, events = f"worker {index} serves", self._parts.events
        if index in self._known:
            events.emit(Kind.WORKER, words, worker=index, pid=pid)
        else:  # the log's one line of the start speaks for all
            events.append(Kind.WORKER, words, logging.INFO, {"worker": index, "pid": pid})
        self._known.add(index)

    # what they say

    def hear(self, message: Message) -> None:
        """Take over one report."""
        if message.event is not None:
            event = message.event
            level = logging.getLevelNamesMapping().get(event.level, logging.INFO)
            worker = {} if message.worker == SUPERVISOR else {"worker": message.worker}
            self._parts.events.append(event.kind, event.message, level, {**event.fields, **worker})
        if message.own is not None:
            self._hear_own(message.worker, message.pid, message.own)
        for told in message.backends:
            self._hear_of(message.worker, message.pid, told)

    def _hear_own(self, worker: int, pid: int, own: OfWorker) -> None:
        parts = self._parts
        parts.counters.absorb(own.requests, own.durations.histogram(), own.retries)
        limiter = parts.limiter
        allowed, limited, shadow, evictions = own.limited
        limiter.allowed += allowed
        limiter.limited += limited
        limiter.shadow_limited += shadow
        limiter.evictions += evictions
        accepted, evicted, pauses = own.connections
        self.accepted += accepted
        self.evicted += evicted
        self.pauses += pauses
        self.dropped += own.dropped
        if pid == self.pids[worker]:
            self._standing[worker] = own

    def _hear_of(self, worker: int, pid: int, told: OfBackend) -> None:
        state = self._parts.backends.get(told.name)
        if state is None:
            return
        state.connections.num_requests += told.requests
        state.failures += told.failures
        state.suspect |= told.suspect
        if told.recorded:
            state.window.absorb(told.samples, told.recorded, told.timings.histogram(), monotonic())
        of_all = self._of_backends.setdefault(told.name, {})
        if pid == self.pids[worker]:
            of_all[worker] = told
        state.in_flight = sum(each.in_flight for each in of_all.values())

    def amend(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of this process, completed by what only the workers know."""
        connections = {
            name: sum(each.connections for each in told.values()) for name, told in self._of_backends.items()
        }
        return replace(
            snapshot,
            logs_dropped=snapshot.logs_dropped + self.dropped,
            hub_lag=max([snapshot.hub_lag, *(own.lag for own in self._standing.values())]),
            limiter=replace(snapshot.limiter, tracked=sum(own.tracked for own in self._standing.values())),
            backends=tuple(replace(view, connections=connections.get(view.name, 0)) for view in snapshot.backends),
        )
