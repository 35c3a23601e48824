"""The control process of an Aegis with workers: probes, decides, reloads, shows and answers for all of them."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event as Flag
from msgspec.structs import replace

from aegis.background import Job
from aegis.config.diff import carried
from aegis.config.schema import Config
from aegis.control import VerbError
from aegis.events import Kind
from aegis.logs.setup import configure
from aegis.metrics.snapshot import Snapshot
from aegis.pool.backend import Backend
from aegis.pool.health import Condition
from aegis.process import signals
from aegis.process.breaker import SharedBreaker
from aegis.process.handover import Handed
from aegis.process.publication import Publication
from aegis.process.reports import receive
from aegis.process.shared import CONTROL, DOWN, DRAIN, ENDED, ENDED_BY_FORCE, FORCE, LEAVE, UNKNOWN, UP, BusyError
from aegis.service import limits
from aegis.service.admin import AdminListeners
from aegis.service.announce import announce, quiet_collector
from aegis.service.build import build, wire_settings
from aegis.service.crowd import Crowd
from aegis.service.jobs import job_table
from aegis.service.reload import Reloader, reopen_files
from aegis.service.screen import Screen, wanted
from aegis.service.shared import Common, known_health, next_slots, published_backends
from aegis.service.verbs import Verbs

log = logging.getLogger("aegis")

TURN: Final = 0.03
HEALTH: Final = {Condition.UNKNOWN: UNKNOWN, Condition.UP: UP, Condition.DOWN: DOWN}
PROGRESS: Final = 1.0


class _ControlReloader(Reloader):
    """A reload that is handed on to the workers."""

    publish: Callable[[], None]

    def apply(self, config: Config, backends: Sequence[Backend]) -> None:
        """As Reloader.apply."""
        self.prepare(list(backends))
        super().apply(config, backends)
        self.publish()

    prepare: Callable[[list[Backend]], None]

    def go_on_with(self, config: Config, backends: Sequence[Backend]) -> None:
        """What workers go by already is neither prepared nor published."""
        super().apply(config, backends)


class ControlProcess:
    """Runs until the supervisor says how it all ended."""

    def __init__(self, common: Common, *, headless: bool, first: bool, more: Sequence[str]) -> None:
        self.common = common
        self._more = more
        self._first = first
        self._headless = headless
        handed = Handed(listeners={name: os.dup(sock.fileno()) for name, sock in common.sockets.items()})
        common.know_slots()
        self.parts = build(common.config, common.backends, handed=handed, make_breaker=common.breakers_of(CONTROL))
        parts = self.parts
        parts.notifier.mute()  # the parent speaks for all
        self._cap = limits.admitted_connections(common.config.server.max_connections)
        self.crowd = Crowd(parts, wire_settings(common.config, self._cap), common.workers)
        self.reloader = _ControlReloader(parts, common.source, None)
        self.reloader.jobs = self.jobs
        self.reloader.prepare = self._prepare
        self.reloader.publish = self._publish
        parts.observer.source = common.source.name
        parts.observer.listen = common.listen
        parts.observer.server = self.crowd
        parts.observer.amend = self._amend
        self.verbs = Verbs(parts.backends, parts.observer.board, parts.events, self.reloader.reload)
        self.admin = AdminListeners(parts, self.verbs)
        self.screen = Screen(self.verbs, parts.config, parts.events, parts.writer, parts.counters)
        self.reloader.further.append(self.screen.reconfigure)
        self._inbox = signals.Inbox(self)
        self._version = -1
        self._published: dict[str, tuple[tuple[str, int], ...]] = _addresses_of(common.backends)
        self._waits_for = 0
        self._reloading = False
        self._ended = Flag()
        self._said = 0.0
        configure(parts.writer.put, common.config.logging.level, text=common.config.logging.format == "text")

    def __repr__(self) -> str:
        return f"<ControlProcess of {self.crowd!r}>"

    def jobs(self, config: Config) -> tuple[Job, ...]:
        """All that is done once for all processes, and what keeps this one going."""
        return (*job_table(config, self.parts), Job("follow", TURN, self.turn, first=0.0))

    def run(self) -> int:
        """Returns the exit code. Raises AdminListenError."""
        parts, board = self.parts, self.common.board
        with self.admin:
            if not self._first:
                if board.generation:
                    self._take_over()
                known_health(parts, self.common)
            self._inbox.open()
            parts.background.reconfigure(self.jobs(self.reloader.running))
            parts.background.start()
            quiet_collector()
            self._tell_eligible()
            self._tell_patience()
            while (
                not all(board.worker(index).ready for index in range(self.common.workers)) and not self._ended.is_set()
            ):
                self._ended.wait(TURN)
            self.admin.start()
            parts.observer.enter("serving")
            if self._first:
                announce(parts, self.common.source, self._cap, self.common.workers, self._more)
            self._open_screen()
            self._ended.wait()
            return self._end()

    def turn(self) -> None:
        """Run as a job: hear the workers, tell them what was found, see what the supervisor says."""
        board, parts = self.common.board, self.parts
        board.turned = monotonic()
        for index, (box, _) in enumerate(self.common.boxes):
            pid = board.worker(index).pid
            known = self.crowd.pids[index]
            if pid != known and not (known and board.stop):  # at a stop they all go
                self.crowd.replace(index, pid)
            for message in receive(box):
                self.crowd.hear(message)
        self._tell_health()
        board.rate = parts.limiter.rate
        self._tell_eligible()
        if board.version != self._version:
            self._version = board.version
            for state in parts.backends:
                if isinstance(state.breaker, SharedBreaker) and state.breaker.follow():
                    parts.backends.changed()
        if _addresses_of([state.backend for state in parts.backends]) != self._published:
            self._publish()
        self._see_who_applied()
        board.screen = self.screen.withholds
        if board.hangups != board.answered and not self._reloading:
            self._reloading = True
            gevent.spawn(self._reload, board.hangups)
        self._see_to_the_end(board.stop)

    # what signals ask for: nearly all of it is for the supervisor

    def stop(self) -> None:
        """The supervisor says when."""

    def hangup(self) -> None:
        """The supervisor was sent one too, and has counted it."""

    def restart(self) -> None:
        """The supervisor's business."""

    def reopen(self) -> None:
        """Go on in new files after a rotation."""
        reopen_files(self.parts, self.reloader.running)

    # reload

    def _reload(self, hangups: int) -> None:
        try:
            if not self.screen.swallows_hangup():
                with contextlib.suppress(VerbError):  # the event has said it
                    self.reloader.reload()
        finally:
            self._reloading = False
            self.common.board.answered = hangups

    def _prepare(self, backends: list[Backend]) -> None:
        old = self.common.slots
        fresh = next_slots(old, backends)
        for name in fresh.keys() - old.keys():
            self.common.board.slot(fresh[name], CONTROL).clear()
        self.common.slots = {**old, **fresh}  # the old ones are in use until the new ones are

    def _publish(self) -> None:
        """Give all workers the configuration in force."""
        board = self.common.board
        self._published = _addresses_of([state.backend for state in self.parts.backends])
        self.common.slots = {name: self.common.slots[name] for name in self._published}
        generation = board.generation + 1
        page = Publication(self.common.source.text, self._published, self.common.slots)
        self.common.pages.write(generation, page)
        board.generation = generation
        self._tell_patience()
        self.crowd.settings = wire_settings(self.reloader.running, self._cap)
        self._waits_for = generation

    def _take_over(self) -> None:
        """Go on with what the control process before this one had published, whatever the file says by now."""
        common = self.common
        page = common.pages.read(common.board.generation)
        common.slots, self._published = page.slots, page.addresses
        config = common.config
        if page.text and page.text != common.source.text:
            config = carried(config, common.source.parse(page.text))
            common.source.text = page.text
        self.reloader.go_on_with(config, published_backends(config, page))

    def _see_who_applied(self) -> None:
        board = self.common.board
        if self._waits_for and all(
            board.worker(index).applied >= self._waits_for for index in range(self.common.workers)
        ):
            self._waits_for = 0
            words = "all workers go by the configuration"
            self.parts.events.emit(Kind.RELOAD, words, level=logging.DEBUG, generation=board.generation)

    def _tell_patience(self) -> None:
        section = self.reloader.running.server
        self.common.board.patience = float(section.shutdown_delay), float(section.shutdown_timeout)

    # health

    def _tell_eligible(self) -> None:
        states = self.parts.backends.states
        self.common.board.eligible = sum(state.eligible for state in states), len(states)

    def _tell_health(self) -> None:
        board = self.common.board
        for state in self.parts.backends:
            slot = board.slot(self.common.slots[state.backend.name], CONTROL)
            slot.probed_at = state.probed_at
            now = HEALTH[state.health.condition], state.share, state.drained
            if now != slot.health():
                with contextlib.suppress(BusyError):  # the next turn tries again
                    slot.tell_health(now[0], now[1], drained=now[2])

    # what is shown

    def _amend(self, snapshot: Snapshot) -> Snapshot:
        pid, workers = self.common.supervisor, self.common.workers
        return replace(self.crowd.amend(snapshot), pid=pid, workers=workers, processes=self._processes())

    def _processes(self) -> dict[str, int]:
        """Those that live, by their names in metrics."""
        workers = {f"worker-{index}": pid for index, pid in enumerate(self.crowd.pids) if pid}
        return {"supervisor": self.common.supervisor, "control": os.getpid(), **workers}

    # the screen and the end

    def _open_screen(self) -> None:
        if wanted(self.parts.config, headless=self._headless):
            self._clear_the_terminal()
            self.parts.observer.tick()  # the first picture shows that we listen
            self.screen.open(lambda: os.kill(self.common.supervisor, signal.SIGTERM))

    def _clear_the_terminal(self) -> None:
        """Let all others write what they have to, and then nothing more; a terminal that stalls has them try longer."""
        board = self.common.board
        board.screen = self.screen.withholds = True
        deadline = monotonic() + PROGRESS
        while monotonic() < deadline and not all(board.worker(index).gave_way for index in range(self.common.workers)):
            gevent.sleep(TURN)

    def _see_to_the_end(self, stop: int) -> None:
        if stop in (DRAIN, FORCE):
            self._drain()
        if stop in (ENDED, ENDED_BY_FORCE, LEAVE) or self.common.orphaned:
            self._ended.set()

    def _drain(self) -> None:
        now, board = monotonic(), self.common.board
        cells = [board.worker(index) for index in range(self.common.workers)]
        if not self._said:
            self.crowd.closed = True
            self.screen.close()
            self.parts.observer.enter("draining")
            log.info("stopping", extra={"pid": self.common.supervisor, "in_flight": self.crowd.in_flight()})
        elif now - self._said < PROGRESS:
            return
        else:
            counts = {"connections": sum(cell.open for cell in cells), "in_flight": sum(c.in_flight for c in cells)}
            log.info("draining", extra=counts)
        self._said = now

    def _end(self) -> int:
        parts, stop = self.parts, self.common.board.stop
        if stop == LEAVE:
            self.screen.hide()
            self.admin.leave()
        else:
            self.screen.close()
        parts.background.stop()
        if stop == ENDED:
            log.info("Aegis shutdown complete")
        elif stop == ENDED_BY_FORCE:
            log.warning("Aegis shutdown forced")
        self._inbox.close()
        parts.recorder.settle()
        parts.writer.settle()
        self.screen.end()
        return 0


def _addresses_of(backends: Sequence[Backend]) -> dict[str, tuple[tuple[str, int], ...]]:
    return {each.name: tuple((address.host, address.port) for address in each.addresses) for each in backends}
