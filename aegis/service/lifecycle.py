"""From start to exit of one process: starting, serving, draining, stopped."""

import contextlib
import logging
import os
from collections.abc import MutableMapping
from enum import Enum
from typing import Final

from gevent.event import Event as Flag

from aegis.control import VerbError
from aegis.events import Kind
from aegis.logs.setup import configure
from aegis.process import handover, listeners, signals
from aegis.service import limits
from aegis.service.admin import AdminListeners
from aegis.service.announce import announce, quiet_collector
from aegis.service.build import wire_settings
from aegis.service.drain import Patience, drain
from aegis.service.parts import Parts
from aegis.service.reload import Reloader, reopen_files
from aegis.service.restart import begin_check
from aegis.service.screen import Screen, wanted
from aegis.service.source import Source
from aegis.service.verbs import Verbs
from aegis.wire.server import Server

log = logging.getLogger("aegis")


STOPPING: Final = "a stop was asked for"


class Stage(Enum):
    """Where the process stands."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class Event(Enum):
    """What moves it on."""

    LISTENING = "listening"
    STOP_ASKED = "stop asked"
    FORCED = "forced"
    DRAINED = "drained"


TRANSITIONS: Final = {
    (Stage.STARTING, Event.LISTENING): Stage.SERVING,
    (Stage.SERVING, Event.STOP_ASKED): Stage.DRAINING,
    (Stage.DRAINING, Event.DRAINED): Stage.STOPPED,
    (Stage.DRAINING, Event.FORCED): Stage.STOPPED,  # a second signal, or shutdown_timeout is over
}


class Service:
    """Runs the parts until a signal asks it to stop."""

    def __init__(
        self,
        parts: Parts,
        source: Source,
        *,
        headless: bool = True,
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        self.parts = parts
        self.source = source
        self.stage = Stage.STARTING
        self._environ = environ
        self._stop = Flag()
        self._force = Flag()
        handed = parts.handed
        self._listener = listeners.obtain(parts.config.server.host, parts.config.server.port, handed, environ)
        cap = limits.admitted_connections(parts.config.server.max_connections)
        self.server = Server(
            self._listener.socket,
            parts.stack.application,
            wire_settings(parts.config, cap),
            parts.deadlines,
            parts.request_heads,
        )
        self.server.make_room = parts.backends.drop_parked
        self.reloader = Reloader(parts, source, self.server)
        parts.observer.source = source.name
        parts.observer.listen = str(listeners.address_of(self._listener.socket))
        parts.observer.server = self.server
        self.verbs = Verbs(parts.backends, parts.observer.board, parts.events, self.reloader.reload)
        self.admin = AdminListeners(parts, self.verbs)
        self.screen = Screen(self.verbs, parts.config, parts.events, parts.writer, parts.counters)
        self.reloader.further.append(self.screen.reconfigure)
        self._headless = headless
        self._inbox = signals.Inbox(self)
        self._superseded = False  # this is the old image, and a child of the new one
        self._told_to_stop = False
        self._restarting = False
        self._check: handover.Check | None = None  # of the new image, while it runs
        logging_section = parts.config.logging
        configure(parts.writer.put, logging_section.level, text=logging_section.format == "text")

    def __repr__(self) -> str:
        return f"<Service {self.stage.value}>"

    def run(self) -> int:
        """Serve until stopped; returns the exit code. Raises AdminListenError when an address cannot be had."""
        with self.admin:
            return self._run()

    def _run(self) -> int:
        parts = self.parts
        self._inbox.open()
        parts.background.reconfigure(self.reloader.jobs(parts.config))
        parts.background.start()
        quiet_collector()
        self.admin.start()
        self.server.start()
        self._fire(Event.LISTENING)
        announce(parts, self.source, self.server.settings.max_connections)
        parts.handed.say_ready()
        parts.handed.close_rest(self._listener.name, *self.admin.names)
        parts.notifier.ready(parts.status())
        self._wait_for_stop()
        self._fire(Event.STOP_ASKED)
        if self._check is not None:
            self._check.kill()  # whoever waits for it goes on, and finds the stop
        log.info("stopping", extra={"pid": os.getpid(), "in_flight": self.server.busy()})
        section = self.reloader.running.server
        if self._superseded:
            patience = Patience(0, section.shutdown_timeout)
        else:
            parts.notifier.stopping("draining")
            patience = Patience(section.shutdown_delay, section.shutdown_timeout)
        drained = drain(self.server, patience, self._force, parts.old_images.left)
        self._fire(Event.DRAINED if drained else Event.FORCED)
        return self._end(drained=drained)

    def _wait_for_stop(self) -> None:
        """With a dashboard meanwhile, if there is to be one. Its terminal is given back before anything else."""
        self._open_screen()
        try:
            self._stop.wait()
        finally:
            self.screen.close()

    def _open_screen(self) -> None:
        if wanted(self.parts.config, headless=self._headless):
            self.parts.observer.tick()  # the first picture shows that we listen
            self.screen.open(self._stop.set)

    # what signals ask for; each runs in a greenlet of its own

    def stop(self) -> None:
        """Drain and exit; asked a second time, exit now."""
        if self._superseded and not self._told_to_stop:
            self._told_to_stop = True  # meant for all processes of the group; this one drains already
            return
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def hangup(self) -> None:
        """Reload the configuration."""
        if self._superseded or self.screen.swallows_hangup():
            return
        serving, notifier = self.stage is Stage.SERVING, self.parts.notifier
        if serving:
            notifier.reloading()
        with contextlib.suppress(VerbError):  # the event has said it
            self.reloader.reload()
        if serving and self.stage is Stage.SERVING:  # READY behind STOPPING would take the stop back
            notifier.ready(self.parts.status())

    def reopen(self) -> None:
        """Go on in new log files after a rotation."""
        reopen_files(self.parts, self.reloader.running)

    def restart(self) -> None:
        """Let a new image take over under the same PID, once it has accepted the configuration; drain as its child."""
        if self._restarting or self.stage is not Stage.SERVING:
            log.warning("SIGUSR2: a restart or a stop is under way already; nothing was done")
            return
        self._restarting = True
        try:
            self._restart()
        finally:
            self._restarting = False

    def _restart(self) -> None:
        parts, events = self.parts, self.parts.events
        parts.notifier.reloading()
        words = self._check_new_image() or self._hand_over()
        if words and not self._stop.is_set():  # a stop that was asked for meanwhile goes on
            events.emit(
                Kind.LIFECYCLE, "the new image cannot take over, this one goes on", level=logging.ERROR, error=words
            )
            parts.notifier.ready(parts.status())

    def _check_new_image(self) -> str:
        """What is wrong with it, "" when all is right. Blocks the calling greenlet only."""
        check = begin_check(self.source, 1, (self._listener.name, *self.admin.names))
        if isinstance(check, str):
            return check
        self._check = check
        try:
            return check.objection(check.wait())
        finally:
            self._check = None  # it is waited for: its PID may be another's

    def _hand_over(self) -> str:
        """Returns in the old image, when it has been told to drain; else why it is still the only one."""
        parts = self.parts
        if self._stop.is_set():
            return STOPPING
        parts.events.emit(Kind.LIFECYCLE, "a new image takes over", pid=os.getpid())
        self.screen.hide()
        self._inbox.pause()  # a signal that only this image had read would be lost with it
        parts.recorder.settle()
        parts.writer.settle()
        try:
            return STOPPING if self._stop.is_set() else self._fork()
        finally:
            self._inbox.open()

    def _fork(self) -> str:
        """The hand-over itself; returns as `_hand_over` does."""
        parts = self.parts
        sockets = {self._listener.name: self._listener.socket, **self.admin.sockets()}
        try:
            ready = handover.hand_over(sockets, self._environ, parts.old_images.children)
        except OSError as error:
            self._open_screen()
            return str(error)
        self._drain_as_old_image(ready)
        return ""

    def _drain_as_old_image(self, ready: handover.Ready) -> None:
        """In the child: go on accepting until the new image does, then end."""
        parts = self.parts
        parts.writer.after_fork()
        self.screen.after_fork()
        self._superseded = True
        parts.old_images.children.clear()  # they are the new image's children
        parts.notifier.mute()
        parts.background.reconfigure(job for job in parts.background.jobs if not job.once)
        if not ready.wait():
            log.error("the new image ended before it served")
        self.admin.leave()
        self._stop.set()

    # the end

    def _fire(self, event: Event) -> None:
        self.stage = TRANSITIONS[self.stage, event]
        self.parts.observer.enter(self.stage.value)
        self.parts.events.append(Kind.LIFECYCLE, f"Aegis is {self.stage.value}", logging.INFO, {})

    def _end(self, *, drained: bool) -> int:
        lost = self.server.busy()
        self.server.give_up()
        for state in self.parts.backends:
            state.connections.close()
        self.parts.stack.access.flush()  # its lines come before the last one
        if not drained:
            log.warning("Aegis shutdown forced", extra={"requests_lost": lost})
        elif self._superseded:
            log.info("the old image has drained", extra={"pid": os.getpid()})
        else:
            log.info("Aegis shutdown complete")
        self.parts.background.stop()
        self._inbox.close()
        if not self._superseded:
            self.parts.recorder.settle()
        self.parts.writer.settle()
        self.screen.end()
        return 0 if drained else 1
