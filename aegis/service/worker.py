"""One of several processes that serve: as a process of its own, but that others probe, decide and speak for it."""

import logging
import os
import socket
from functools import partial
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event as Flag

from aegis.background import Job
from aegis.config.diff import carried
from aegis.config.schema import Config
from aegis.events import Kind
from aegis.logs.setup import RingHandler, configure
from aegis.pool.breaker import State
from aegis.process import signals
from aegis.process.handover import Handed
from aegis.process.reports import INTERVAL, ForwardedEvents, Reporter
from aegis.process.shared import DRAIN, FORCE, LEAVE, RUN
from aegis.service import limits
from aegis.service.announce import quiet_collector
from aegis.service.build import build, wire_settings
from aegis.service.drain import Patience, drain
from aegis.service.jobs import job_table
from aegis.service.reload import Reloader, reopen_files
from aegis.service.shared import Common, follow, published_backends, share_of
from aegis.wire.server import Server

log = logging.getLogger("aegis")

TURN: Final = 0.03
"""Seconds from one look at the shared numbers to the next: a breaker that opens elsewhere opens here within it."""


GROUP: Final = 0.2
"""Seconds from a signal to all processes of the group until every one of them has acted on it."""


class Worker:
    """Serves on one listener of the group until it is told to stop."""

    def __init__(self, common: Common, index: int, listener: socket.socket) -> None:
        self.common, self.index = common, index
        self._cell = common.board.worker(index)
        self._generation = 0
        self._text = common.source.text
        self._stop, self._force = Flag(), Flag()
        self._superseded = False
        common.know_slots()
        config = self._shared_out(common.config)
        events = ForwardedEvents(common.boxes[index][1], index, os.getpid())
        self.parts = build(
            config, common.backends, handed=Handed(), events=events, make_breaker=common.breakers_of(index)
        )
        parts = self.parts
        parts.notifier.mute()  # the parent speaks for all
        parts.proxy.retry_after = self._retry_after
        cap = limits.admitted_connections(config.server.max_connections)
        self.server = Server(
            listener, parts.stack.application, wire_settings(config, cap), parts.deadlines, parts.request_heads
        )
        self.server.make_room = parts.backends.drop_parked
        self.reloader = Reloader(parts, common.source, self.server)
        self.reloader.jobs = self.jobs
        self._reporter = Reporter(
            common.boxes[index][1],
            index,
            os.getpid(),
            backends=lambda: parts.backends.states,
            counters=parts.counters,
            limiter=parts.limiter,
            server=self.server,
            dropped=lambda: parts.writer.dropped,
            lag=lambda: parts.background.lateness.get("deadlines", 0.0),
        )
        self._ring = RingHandler(partial(events.append, Kind.LOG))
        self._gave_way = False
        self._version = -1
        self._rate = 0.0
        self._inbox = signals.Inbox(self)
        configure(parts.writer.put, config.logging.level, text=config.logging.format == "text")

    def __repr__(self) -> str:
        return f"<Worker {self.index} {self.server!r}>"

    def jobs(self, config: Config) -> tuple[Job, ...]:
        """All that this process does beside requests: nothing that is done once for all."""
        own = [job for job in job_table(config, self.parts) if not job.once]
        return (*own, Job("follow", TURN, self.turn, first=0.0), Job("report", INTERVAL, self._reporter.tick))

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        parts = self.parts
        if self.common.board.generation:
            self._apply(self.common.board.generation)
        parts.background.reconfigure(self.jobs(self.reloader.running))
        self._inbox.open()
        self.turn()
        parts.background.start()
        quiet_collector()
        self.server.start()
        self._cell.serve(os.getpid(), self._generation)
        self._stop.wait()
        section = self.reloader.running.server
        delay = 0.0 if self._superseded else float(section.shutdown_delay)
        drained = drain(self.server, Patience(delay, section.shutdown_timeout), self._force, say=lambda *_: None)
        return self._end(drained=drained)

    def turn(self) -> None:
        """Run as a job: say that the loop turns, and look at what others say."""
        board, now = self.common.board, monotonic()
        self._cell.turn(now, self.server.open, self.server.in_flight())
        stop = board.stop
        if stop != RUN or self.common.orphaned:
            self._asked(stop)
        if board.screen is not self._gave_way:
            self._gave_way = not self._gave_way
            gevent.spawn(self._give_way if self._gave_way else self._write_again)
        if board.generation != self._generation:
            self._apply(board.generation)
        version = board.version
        if version != self._version:
            self._version = version
            follow(self.parts, self.common, self.index)
        elif any(state.breaker.state is State.HALF_OPEN for state in self.parts.backends):
            self.parts.backends.changed()  # permits that others gave back are there again
        if board.rate not in (0.0, self._rate):
            self._take_rate()

    # what signals ask for

    def stop(self) -> None:
        """To this process alone: by the image that took over, or by somebody who wants it replaced."""
        if self.common.board.stop == RUN:
            gevent.sleep(GROUP)  # who tells all processes at once tells the supervisor too, who says how it is done
        if self.common.board.stop in (RUN, LEAVE):
            self._superseded = True
            self._stop.set()

    def hangup(self) -> None:
        """Control's business."""

    def restart(self) -> None:
        """The supervisor's business."""

    def reopen(self) -> None:
        """Go on in new log files after a rotation."""
        reopen_files(self.parts, self.reloader.running)

    # the rest

    def _asked(self, stop: int) -> None:
        if stop == FORCE:
            self._force.set()
        if stop in (DRAIN, FORCE) or self.common.orphaned:
            self._stop.set()

    def _give_way(self) -> None:
        """To the dashboard, which is another process's: it shows what would be written on its terminal otherwise."""
        logging.getLogger().addHandler(self._ring)
        if not self.reloader.running.logging.file:
            self.parts.writer.withhold()
        self._cell.gave_way = True

    def _write_again(self) -> None:
        self._cell.gave_way = False
        logging.getLogger().removeHandler(self._ring)
        self.parts.writer.release()

    def _apply(self, generation: int) -> None:
        """Go by the configuration that control has accepted."""
        self._generation = generation
        try:
            page = self.common.pages.read(generation)
        except ValueError:
            return  # a newer one is being written: it is read next
        source, running = self.common.source, self.reloader.running
        config = running
        if page.text and page.text != self._text:
            config = self._shared_out(carried(self.common.config, source.parse(page.text)))
            self._text = page.text
        self.common.slots = page.slots
        self.reloader.apply(config, published_backends(config, page))
        self._version = -1
        self._take_rate()
        self._cell.applied = generation

    def _take_rate(self) -> None:
        self._rate = rate = self.common.board.rate
        if rate:
            self.parts.limiter.rate = rate if self.common.by_client else max(1.0, rate / self.common.workers)

    def _retry_after(self) -> int:
        """Probes run in the control process: when the last ones started stands on the board."""
        for state in self.parts.backends:
            state.probed_at = self.common.board.slot(self.common.slots[state.backend.name], self.index).probed_at
        return self.parts.prober.retry_after()

    def _shared_out(self, config: Config) -> Config:
        return share_of(config, self.common.workers, by_client=self.common.by_client)

    def _end(self, *, drained: bool) -> int:
        parts = self.parts
        lost = self.server.busy()
        self.server.give_up()
        for state in parts.backends:
            state.connections.close()
        self._cell.turn(monotonic(), self.server.open, 0)
        parts.background.stop()
        self._reporter.tick()
        parts.stack.access.flush()
        if not drained:
            log.warning("worker %d was forced", self.index, extra={"requests_lost": lost})
        elif self._superseded:
            words = "the old image has drained" if self.common.board.stop == LEAVE else "told to stop alone: drained"
            log.info(words, extra={"pid": os.getpid(), "worker": self.index})
        self._inbox.close()
        parts.writer.settle()
        return 0 if drained else 1
