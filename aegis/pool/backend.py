"""A backend: its frozen identity, which survives a reload, and the live state beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aegis.config.schema import Metrics
from aegis.metrics.window import LatencyWindow
from aegis.transport.connection_pool import BackendPool, Connection
from aegis.transport.resolver import Address

DEFAULT_METRICS: Final = Metrics()


@dataclass(frozen=True, slots=True)
class Backend:
    """Who it is: name, scheme, host and port as configured, weight (0 = drained), addresses as vetted at start."""

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


class BackendState:
    """How it is doing. `pool` of states is told when eligibility or weight changes."""

    __slots__ = ("_backends", "backend", "connections", "drained", "healthy", "in_flight", "share", "window")

    def __init__(self, backend: Backend, connections: BackendPool, metrics: Metrics = DEFAULT_METRICS) -> None:
        self.backend = backend
        self.connections = connections
        self.healthy = True  # eligible before the first probe result
        self.drained = False
        self.share = 1.0  # of its weight, while it warms up
        self.in_flight = 0
        self.window = LatencyWindow(metrics)  # a sample for every attempt that got a response head or timed out
        self._backends: Backends | None = None

    def __repr__(self) -> str:
        health = "healthy" if self.healthy else "down"
        drained = " drained" if self.drained else ""
        return f"<Backend {self.backend.name} {health}{drained} {self.in_flight} in flight>"

    @property
    def effective_weight(self) -> float:
        """Weight × warm-up share while eligible, else 0."""
        return self.backend.weight * self.share if self.healthy and not self.drained else 0.0

    def take(self, fresh: bool) -> Connection:  # noqa: FBT001
        """A connection and a place in flight. fresh: a new one, whatever is parked."""
        self.in_flight += 1
        return self.connections.take_fresh() if fresh else self.connections.take()

    def give_back(self, connection: Connection, fit: bool) -> None:  # noqa: FBT001
        """Give both back, once. fit: the response ended cleanly and its connection lives on."""
        self.in_flight -= 1
        if fit:
            self.connections.park(connection)
        else:
            self.connections.discard(connection)

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

    def _changed(self) -> None:
        if self._backends is not None:
            self._backends.version += 1


class Backends:
    """All states in the order of the configuration. `version` counts changes of eligibility and weight."""

    def __init__(self, states: Sequence[BackendState]) -> None:
        self.states = tuple(states)
        self.version = 1
        for state in states:
            state._backends = self  # noqa: SLF001 - this class is the state's other half

    def __repr__(self) -> str:
        return f"<Backends {sum(state.effective_weight > 0 for state in self.states)} of {len(self.states)} eligible>"

    def __iter__(self) -> Iterator[BackendState]:
        return iter(self.states)
