"""A new configuration in a running process: read and vetted wholly first, then applied without a way to fail.

Each part keeps what it knows and is handed its section. What asks for a reload is not known here.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gevent.lock import BoundedSemaphore

from aegis.background import Job
from aegis.config.diff import carried, compare
from aegis.config.errors import ConfigErrors
from aegis.config.schema import Config
from aegis.control import Reloaded, VerbError
from aegis.events import Kind
from aegis.logs.setup import configure
from aegis.logs.writer import open_log
from aegis.pool.backend import Backend
from aegis.pool.policies import POLICIES, policy_of
from aegis.service import limits
from aegis.service.build import make_state, timeouts_of, wire_settings
from aegis.service.jobs import job_table
from aegis.service.parts import Parts
from aegis.service.vetting import look_up_by
from aegis.wire.server import Server

if TYPE_CHECKING:
    from aegis.service.source import Source

STDOUT: Final = 1


class Reloader:
    """Reads the source again and applies what can be. One reload at a time."""

    def __init__(self, parts: Parts, source: "Source", server: Server | None) -> None:
        self.running = parts.config
        self._parts = parts
        self._source = source
        self._server = server
        self._alone = BoundedSemaphore(1)
        self.jobs: Callable[[Config], tuple[Job, ...]] = partial(job_table, parts=parts)
        self.further: list[Callable[[Config], None]] = []  # what is no part, such as the dashboard

    def __repr__(self) -> str:
        return f"<Reloader of {self._source.name} {dict(self._parts.counters.reloads)}>"

    def reload(self) -> Reloaded:
        """Read, check, vet, apply. Raises VerbError with all that is wrong; nothing was changed then."""
        with self._alone:
            try:
                answer = self._reload()
            except VerbError as error:
                self._parts.counters.reloads["failed"] += 1
                words = str(error)
                self._parts.events.emit(
                    Kind.RELOAD_FAILED, "reload refused, nothing was changed", level=logging.ERROR, error=words
                )
                raise
            self._parts.counters.reloads["applied"] += 1
            return answer

    def _reload(self) -> Reloaded:
        if not self._source.file:
            raise VerbError("no file: Aegis was started with --backend; start it with --config to reload")
        try:
            config, backends = self._source.read(self.running, self._parts.resolve)
        except ConfigErrors as errors:
            raise VerbError(str(errors)) from errors
        live, restart = compare(self.running, config)
        answer = Reloaded(applied=tuple(map(str, live)), needs_restart=tuple(map(str, restart)))
        self.apply(carried(self.running, config), backends)
        self._parts.events.emit(
            Kind.RELOAD,
            "configuration reloaded",
            applied="; ".join(answer.applied),
            needs_restart="; ".join(answer.needs_restart),
        )
        return answer

    def apply(self, config: Config, backends: Sequence[Backend]) -> None:
        """Hand every part its section. Raises VerbError, before the first one, when the log file cannot be opened."""
        redirect = self._log_target(config)
        redirect()
        for step in STEPS.values():
            step(self._parts, config)
        for further in self.further:
            further(config)
        self._backends(config, backends)
        if self._server is not None:
            cap = limits.admitted_connections(config.server.max_connections)
            self._server.reconfigure(wire_settings(config, cap))
        self._parts.background.reconfigure(self.jobs(config))
        self.running = config

    def _backends(self, config: Config, backends: Sequence[Backend]) -> None:
        parts = self._parts
        make = partial(
            make_state,
            config=config,
            deadlines=parts.deadlines,
            make_breaker=parts.make_breaker,
            make_room=parts.backends.drop_parked,
        )
        parts.backends.replace(backends, make)
        for state in parts.backends:
            state.connections.reconfigure(config.transport)
            state.window.reconfigure(config.metrics)
        parts.backends.reconfigure(config.circuit_breaker)
        parts.prober.reconfigure(config.health_check)
        parts.repinner.look_up = look_up_by(config)

    def _log_target(self, config: Config) -> Callable[[], None]:
        """Opens the log file if it is another one; returns what switches to it."""
        path = config.logging.file
        if path == self.running.logging.file:
            return lambda: None
        try:
            descriptor = open_log(path) if path else STDOUT
        except OSError as error:
            raise VerbError(f"logging.file: {path} cannot be opened: {error.strerror}") from error
        return partial(self._parts.writer.redirect, descriptor)


def _logging(parts: Parts, config: Config) -> None:
    configure(parts.writer.put, config.logging.level, text=config.logging.format == "text")


def _transport(parts: Parts, config: Config) -> None:
    parts.timeouts.reconfigure(*timeouts_of(config.transport))


def _adaptive(parts: Parts, config: Config) -> None:
    parts.adaptive.reconfigure(config.adaptive, config.rate_limit.requests_per_second)
    parts.recorder.reconfigure(config.adaptive.record)


def _balancing(parts: Parts, config: Config) -> None:
    if type(parts.proxy.policy) is not POLICIES[config.balancing.policy]:
        parts.proxy.policy = policy_of(config.balancing, parts.backends)


def _counters(parts: Parts, config: Config) -> None:
    parts.counters.reconfigure(config.server.allowed_methods)


STEPS: Final[Mapping[str, Callable[[Parts, Config], None]]] = MappingProxyType(
    {
        "logging": _logging,
        "transport": _transport,
        "rate_limit": lambda parts, config: parts.limiter.reconfigure(config.rate_limit),
        "balancing": _balancing,
        "retry": lambda parts, config: parts.budget.reconfigure(config.retry),
        "adaptive": _adaptive,
        "snapshot": lambda parts, config: parts.observer.reconfigure(config),
        "layers": lambda parts, config: parts.stack.reconfigure(config),
        "counters": _counters,
    }
)
"""Part → how it is handed its section; backends, wire and jobs follow. A part that is new has its line here."""


def reopen_files(parts: Parts, config: Config) -> None:
    """After a rotation: go on in new files under the old names."""
    parts.recorder.reopen()
    path = config.logging.file
    if not path:
        return
    log = logging.getLogger("aegis")
    try:
        parts.writer.reopen(path)
    except OSError as error:
        log.error("the log file could not be reopened, the old one stays: %s", error)  # noqa: TRY400 - no bug of ours
    else:
        log.info("log file reopened", extra={"file": path})
