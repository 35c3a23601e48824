"""From start to exit of one process: starting, serving, draining, stopped."""

import gc
import logging
import signal
from enum import Enum
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event as Flag

from aegis.config.unbuilt import unbuilt_in
from aegis.events import Kind
from aegis.logs.setup import configure
from aegis.service.admin import AdminListeners
from aegis.service.build import Parts
from aegis.service.screen import Screen, wanted
from aegis.service.verbs import Verbs
from aegis.version import __version__
from aegis.wire.server import Server, open_listener

log = logging.getLogger("aegis")

IDLE_LINGER: Final = 0.2
"""Seconds in which a request already on its way over an idle connection is still served at a stop."""


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

    def __init__(self, parts: Parts, *, source: str, headless: bool = True) -> None:
        self.parts = parts
        self.source = source
        self.stage = Stage.STARTING
        parts.observer.source = source
        self.verbs = Verbs(parts.backends, parts.observer.board, parts.events)
        self.screen = Screen(self.verbs, parts.config, parts.events, parts.writer, parts.counters)
        self._headless = headless
        self._stop = Flag()
        self._force = Flag()
        logging_section = parts.config.logging
        configure(parts.writer.put, logging_section.level, text=logging_section.format == "text")

    def __repr__(self) -> str:
        return f"<Service {self.stage.value}>"

    def run(self) -> int:
        """Serve until stopped; returns the exit code. Raises OSError or AdminListenError when a port cannot be had."""
        with AdminListeners(self.parts, self.verbs) as admin:
            return self._run(admin)

    def _run(self, admin: AdminListeners) -> int:
        config, parts = self.parts.config, self.parts
        listener = open_listener(config.server.host, config.server.port)
        server = Server(listener, parts.application, parts.wire, parts.deadlines, parts.request_heads)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            gevent.signal_handler(number, self._on_stop_signal)
        gevent.signal_handler(signal.SIGHUP, self._on_hangup)
        gevent.signal_handler(signal.SIGUSR1, self._reopen_files)
        parts.observer.server = server
        parts.background.start()
        _quiet_collector()
        admin.start()
        server.start()
        self._fire(Event.LISTENING)
        self._announce()
        self._wait_for_stop()
        self._fire(Event.STOP_ASKED)
        drained = self._drain(server)
        self._fire(Event.DRAINED if drained else Event.FORCED)
        return self._end(server, drained=drained)

    def _wait_for_stop(self) -> None:
        """With a dashboard meanwhile, if there is to be one. Its terminal is given back before anything else."""
        if wanted(self.parts.config, headless=self._headless):
            self.parts.observer.tick()  # the first picture shows that we listen
            self.screen.open(self._stop.set)
        try:
            self._stop.wait()
        finally:
            self.screen.close()

    def _fire(self, event: Event) -> None:
        self.stage = TRANSITIONS[self.stage, event]
        self.parts.observer.enter(self.stage.value)
        self.parts.events.append(Kind.LIFECYCLE, f"Aegis is {self.stage.value}", logging.INFO, {})

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def _on_hangup(self) -> None:
        if self.screen.swallows_hangup():
            return
        log.warning("SIGHUP: reloading is not available in this version; nothing was changed")

    def _reopen_files(self) -> None:
        self.parts.recorder.reopen()
        path = self.parts.config.logging.file
        if not path:
            return
        try:
            self.parts.writer.reopen(path)
        except OSError as error:
            log.error("the log file could not be reopened, the old one stays: %s", error)  # noqa: TRY400 - no bug of ours
        else:
            log.info("log file reopened", extra={"file": path})

    def _drain(self, server: Server) -> bool:
        """Stop listening, let what is in flight end. False when it did not in time."""
        hub = gevent.get_hub()
        server.stop_keeping()
        server.close()
        patience = self.parts.config.server.shutdown_timeout
        started = said = monotonic()
        gevent.sleep(IDLE_LINGER)
        while server.connections:
            now = monotonic()
            if now - started >= patience or self._force.is_set():
                return False
            hub.loop.run_callback(server.close_idle)
            if now - started >= patience / 2 or all(each.endless for each in server.connections):
                hub.loop.run_callback(server.close_endless)
            if now - said >= 1:
                said = now
                log.info("draining", extra={"connections": len(server.connections), "in_flight": server.busy()})
            self._force.wait(0.05)
        return True

    def _end(self, server: Server, *, drained: bool) -> int:
        lost = len(server.connections)
        if server.pool is not None:
            server.pool.kill(timeout=1)
        for state in self.parts.backends:
            state.connections.close()
        if drained:
            log.info("Aegis shutdown complete")
        else:
            log.warning("Aegis shutdown forced", extra={"requests_lost": lost})
        self.parts.background.stop()
        self.parts.recorder.close()
        self.parts.writer.close()
        self.screen.end()
        return 0 if drained else 1

    def _announce(self) -> None:
        parts, config = self.parts, self.parts.config
        log.info(
            "Aegis started",
            extra={
                "version": __version__,
                "listen": f"{config.server.host}:{config.server.port}",
                "workers": 1,
                "backends": [
                    f"{each.backend.name} weight={each.backend.weight} at {', '.join(map(str, each.backend.addresses))}"
                    for each in parts.backends
                ],
                "admin": config.admin.listen,
                "config": self.source,
                "opened_networks": _opened_networks(parts),
            },
        )
        if parts.wire.max_connections < config.server.max_connections:
            log.warning(
                "server.max_connections is %d, but the limit of open files admits %d: clamped",
                config.server.max_connections,
                parts.wire.max_connections,
            )
        missing = unbuilt_in(config)
        if missing:
            log.warning("set, checked, but without effect in this version: %s", ", ".join(missing))


def _opened_networks(parts: Parts) -> list[str]:
    opened = list(parts.config.security.allowed_backend_networks)
    if parts.config.development.allow_loopback_backends:
        opened.append("loopback (development.allow_loopback_backends)")
    return opened


def _quiet_collector() -> None:
    """Take all that start made out of the collector's sight: a full pass with 10,000 connections would take 43 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
