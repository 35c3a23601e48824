"""A backend: its frozen identity, which survives a reload, and the live state beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aegis.config.schema import CircuitBreaker, HealthCheck, Metrics
from aegis.metrics.window import LatencyWindow
from aegis.pool.breaker import NOBODYS, Breaker, Event, State
from aegis.pool.health import Health
from aegis.pool.warmup import FULL
from aegis.transport.connection_pool import BackendPool, Connection
from aegis.transport.resolver import Address

DEFAULT_METRICS: Final = Metrics()


@dataclass(frozen=True, slots=True)
class Backend:
    """Who it is: name, scheme, host and port as configured, weight (0 = drained), addresses as vetted last."""

    name: str
    scheme: str
    host: str
    port: int
    weight: int
    addresses: tuple[Address, ...]

    @property
    def url(self) -> str:
        """scheme://host:port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, str, int]:
        """What makes it the same backend after a reload: weight and addresses may change."""
        return self.name, self.scheme, self.host, self.port


class NotAdmittedError(Exception):
    """The breaker gave no permit: pick again."""


class Watching(Protocol):
    """Whoever keeps count of what is eligible."""

    def changed(self) -> None:
        """Eligibility or weight of a backend changed."""

    def breaker_moved(self, state: "BackendState", before: State, event: Event) -> None:
        """A breaker made a transition."""


class BackendState:
    """How it is doing. `watching` is told when eligibility or weight changes.

    Every `take` is followed by exactly one `give_back`, whatever happens in between.
    """

    __slots__ = (
        "backend",
        "breaker",
        "connections",
        "drained",
        "failures",
        "health",
        "health_error",
        "healthy",
        "in_flight",
        "probed_at",
        "probes",
        "record",
        "released",
        "share",
        "suspect",
        "watching",
        "window",
    )

    def __init__(
        self,
        backend: Backend,
        connections: BackendPool,
        metrics: Metrics = DEFAULT_METRICS,
        breaker: Breaker | None = None,
        health: Health | None = None,
    ) -> None:
        self.in_flight = 0
        self.released: Callable[[BackendState], None] | None = None  # told of each request that is over
        self.window = LatencyWindow(metrics)  # a sample for every attempt that got a response head or timed out
        self.record: Callable[[float, float], None] = self.window.record  # (latency in ms, now); a policy may listen
        self.connections = connections
        self.breaker = breaker or Breaker(CircuitBreaker())
        self.breaker.on_change = self._breaker_moved
        self.backend = backend
        self.healthy = True  # eligible before the first probe result
        self.drained = False  # by an operator; a weight of 0 is another matter
        self.share = FULL  # of its weight, while it warms up
        self.failures = 0  # attempts that counted as failures so far
        self.health = health or Health(HealthCheck())
        self.health_error = ""  # of the last probe; "" after a pass
        self.probes = {True: 0, False: 0}  # results so far, passed and failed
        self.probed_at: float | None = None  # when the last probe started, monotonic
        self.suspect = False  # every pinned address refused, or a probe failed, since its name was looked up
        self.watching: Watching | None = None

    def __repr__(self) -> str:
        health = "healthy" if self.healthy else "down"
        drained = " drained" if self.drained else ""
        return f"<Backend {self.backend.name} {health} {self.breaker.state}{drained} {self.in_flight} in flight>"

    @property
    def eligible(self) -> bool:
        """Healthy ∧ breaker admits ∧ not drained."""
        return self.healthy and self.breaker.admits and not self.drained and self.backend.weight > 0

    @property
    def effective_weight(self) -> float:
        """Weight × warm-up share while eligible, else 0."""
        return self.backend.weight * self.share if self.eligible else 0.0

    def take(self, fresh: bool) -> Connection:  # noqa: FBT001
        """A connection and a place in flight, with the breaker's permit. fresh: a new one, whatever is parked."""
        breaker = self.breaker
        permit = self._admit() if breaker.guarded else breaker.epoch
        self.in_flight += 1
        connection = self.connections.take_fresh() if fresh else self.connections.take()
        connection.permit = permit
        return connection

    def give_back(self, connection: Connection, fit: bool, succeeded: bool | None) -> None:  # noqa: FBT001
        """Give all three back, once. fit: the response ended cleanly and its connection lives on.

        succeeded: the attempt's outcome; None when it says nothing of the backend.
        """
        self.in_flight -= 1
        if self.breaker.guarded or not succeeded:
            self._settle(connection.permit, succeeded)
        if self.released is not None:
            self.released(self)
        if fit:
            self.connections.park(connection)
        else:
            self.connections.discard(connection)

    def settle_early(self, connection: Connection, *, succeeded: bool | None = True) -> None:
        """An outcome that is known long before the connection is given back, as of an event stream or a tunnel."""
        self._settle(connection.permit, succeeded)
        connection.permit = NOBODYS

    def become(self, backend: Backend) -> None:
        """The same backend with another weight, or other vetted addresses, which new connections go to."""
        if set(backend.addresses) != set(self.backend.addresses):
            self.connections.redial(self.connections.dial_settings.at(backend.addresses))
        self.backend = backend
        self._changed()

    def set_healthy(self, *, healthy: bool) -> None:
        """What the probes found."""
        self.healthy = healthy
        self._changed()

    def set_drained(self, *, drained: bool) -> None:
        """What an operator asked for."""
        self.drained = drained
        self._changed()

    def set_share(self, share: float) -> None:
        """Warm-up: 0 < share ≤ 1 of the weight."""
        self.share = share
        self._changed()

    def _admit(self) -> int:
        permit = self.breaker.admit()
        if permit is None:  # another process took the last one since this backend was picked
            self._changed()
            raise NotAdmittedError(self.backend.name)
        if not self.breaker.admits:
            self._changed()  # that was the last place of half-open
        return permit

    def _settle(self, permit: int, succeeded: bool | None) -> None:  # noqa: FBT001
        self.failures += succeeded is False
        admitted = self.breaker.admits
        self.breaker.settle(permit, succeeded)
        if admitted is not self.breaker.admits:
            self._changed()

    def _breaker_moved(self, before: State, event: Event) -> None:
        self._changed()
        if self.watching is not None:
            self.watching.breaker_moved(self, before, event)

    def _changed(self) -> None:
        if self.watching is not None:
            self.watching.changed()
