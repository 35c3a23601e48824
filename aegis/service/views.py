"""Parts → what is shown of them. Plain functions that read and change nothing."""

from collections.abc import Sequence
from typing import Final, Protocol

from aegis.config.schema import Config
from aegis.metrics.histogram import Percentiles
from aegis.metrics.snapshot import BackendView, ConnectionsView, LimiterView
from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends
from aegis.pool.breaker import State
from aegis.ratelimit.limiter import Limiter
from aegis.wire.server import WireSettings


class Listening(Protocol):
    """What is shown of a server, or of many together."""

    settings: WireSettings
    accepted: int
    evicted: int
    pauses: int

    @property
    def open(self) -> int:
        """Connections of clients."""

    @property
    def closed(self) -> bool:
        """Whether it listens no more."""

    def waiting(self) -> int:
        """Connections that the kernel holds."""

    def in_flight(self) -> int:
        """Requests under way."""


NO_SAMPLES: Final = Percentiles(None, None, None, 0)
NO_CONNECTIONS: Final = ConnectionsView(open=0, limit=0, accepted=0, idle_evicted=0, paused=0, accept_queue=0)


def is_drained(state: BackendState) -> bool:
    """Whether somebody took it out: an operator, or the configuration by its weight of 0."""
    return state.drained or state.backend.weight == 0


def why_not(state: BackendState) -> str:
    """Why it may not be picked, in words; "" when it may."""
    if is_drained(state):
        return "drained"
    if not state.healthy:
        return f"down ({state.health_error})" if state.health_error else "down"
    return "" if state.breaker.admits else f"breaker {state.breaker.state}"


def missing(stage: str, backends: Backends) -> str:
    """What keeps this process from being ready, in words; "" when it is.

    Ready = listening, not stopping, and after the first probe round at least one eligible backend.
    """
    if stage == "starting":
        return "not listening yet"
    if stage != "serving":
        return "stopping"
    if unprobed := backends.unprobed:
        return f"the first probe is not over: {', '.join(state.backend.name for state in unprobed)}"
    if any(state.eligible for state in backends):
        return ""
    return "no backend is eligible: " + ", ".join(f"{state.backend.name} {why_not(state)}" for state in backends)


def backend_view(state: BackendState, latency: Percentiles, history: Sequence[float]) -> BackendView:
    """One backend. latency: as computed last; history: of its P95, the oldest first."""
    backend, pool, breaker = state.backend, state.connections, state.breaker
    return BackendView(
        name=backend.name,
        url=backend.url,
        addresses=tuple(map(str, backend.addresses)),
        weight=backend.weight,
        share=state.share,
        health=str(state.health.condition),
        health_error=state.health_error,
        breaker=str(breaker.state),
        breaker_opens_in=breaker.half_open_in() if breaker.state is State.OPEN else None,
        drained=is_drained(state),
        eligible=state.eligible,
        in_flight=state.in_flight,
        connections=state.in_flight + len(pool.idle()),
        requests=pool.num_requests,
        errors=state.failures,
        p50_ms=latency.p50_ms,
        p95_ms=latency.p95_ms,
        p99_ms=latency.p99_ms,
        samples=latency.samples,
        latency_history=tuple(history),
    )


def limiter_view(limiter: Limiter, config: Config) -> LimiterView:
    """The rate limiter, and the bounds between which the adaptive loop may move it."""
    section = config.rate_limit
    return LimiterView(
        mode=section.mode,
        rate=limiter.rate,
        configured_rate=section.requests_per_second,
        min_rate=config.adaptive.min_rate,
        max_rate=config.adaptive.max_rate,
        burst=section.burst,
        allowed=limiter.allowed,
        limited=limiter.limited,
        shadow_limited=limiter.shadow_limited,
        tracked=limiter.tracked,
        max_entries=section.max_entries,
        evictions=limiter.evictions,
    )


def connections_view(server: Listening | None) -> ConnectionsView:
    """Connections of clients; None = nothing listens yet."""
    if server is None:
        return NO_CONNECTIONS
    return ConnectionsView(
        open=server.open,
        limit=server.settings.max_connections,
        accepted=server.accepted,
        idle_evicted=server.evicted,
        paused=server.pauses,
        accept_queue=0 if server.closed else server.waiting(),
    )
