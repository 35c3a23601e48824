"""What Aegis shows of itself at one moment: immutable, JSON-ready, the same for dashboard, `/snapshot` and `aegis top`.

Made off the hot path; nobody may change one after it was published. Durations in seconds unless the name says `_ms`.
"""

from threading import Lock
from typing import Final

from msgspec import Struct

SAME_START: Final = 0.2
"""Seconds by which a start may seem to move: the wall clock is slewed, and read a moment after the monotonic one."""


class BackendView(Struct, frozen=True, kw_only=True):
    """One backend."""

    name: str
    url: str
    addresses: tuple[str, ...]  # vetted, in resolver order
    weight: int
    share: float  # of the weight, while it warms up: 0.25, 0.5, 0.75 or 1
    health: str  # "up", "down" or "unknown" (no probe result yet)
    health_error: str  # of the last failed probe; "" after a pass
    breaker: str  # "closed", "open" or "half_open"
    breaker_opens_in: float | None  # seconds until an open breaker goes half-open
    drained: bool
    eligible: bool
    in_flight: int
    connections: int  # open ones, parked ones among them
    requests: int  # attempts on it so far
    errors: int  # of these, those that counted as failures
    p50_ms: float | None  # None without samples; a second old, with over 32 backends up to one more for each 32
    p95_ms: float | None
    p99_ms: float | None
    samples: int  # in the window
    latency_history: tuple[float, ...]  # P95 in ms, one value a second, oldest first, at most 60; 0 = no sample


class LimiterView(Struct, frozen=True, kw_only=True):
    """The rate limiter."""

    mode: str  # "enforce" or "shadow"
    rate: float  # in force, requests per second and client
    configured_rate: float
    min_rate: float
    max_rate: float
    burst: int
    allowed: int
    limited: int
    shadow_limited: int
    tracked: int
    max_entries: int
    evictions: int


class DecisionView(Struct, frozen=True, kw_only=True):
    """One decision of the adaptive loop."""

    time: float  # seconds since the epoch
    action: str  # "reduce", "recover" or "hold"
    code: str  # few_samples, no_healthy_backend, hysteresis, between_bounds, at_bound, not_limiting, above_threshold, …
    words: str  # "hold: 4 of 20 samples"
    rate_before: float
    rate_after: float
    p95_ms: float | None
    samples: int


class AdaptiveView(Struct, frozen=True, kw_only=True):
    """The adaptive loop."""

    enabled: bool
    mode: str  # "enforce" or "shadow"
    threshold_ms: float
    p95_ms: float | None  # as the last tick saw it
    decisions: tuple[DecisionView, ...]  # the last ones, oldest first


class ConnectionsView(Struct, frozen=True, kw_only=True):
    """Connections of clients."""

    open: int
    limit: int
    accepted: int
    idle_evicted: int
    paused: int
    accept_queue: int  # those that the kernel holds for us


class Snapshot(Struct, frozen=True, kw_only=True):
    """All of it."""

    time: float  # seconds since the epoch
    version: str
    pid: int
    stage: str  # "starting", "serving", "draining" or "stopped"
    uptime: float
    listen: str  # host:port, as it really is
    source: str  # the configuration file, or "--backend"
    workers: int
    ready: bool
    not_ready: str  # what is missing; "" when ready
    in_flight: int
    requests: int
    rps: float  # over the last second
    rps_history: tuple[float, ...]  # one value a second, oldest first, at most 60
    statuses: dict[str, int]  # "1xx" to "5xx" and "499": responses so far
    reasons: dict[str, int]  # reason → responses so far
    aborted: dict[str, int]  # "client" and "backend": messages broken off
    retries: int
    connections: ConnectionsView
    backends: tuple[BackendView, ...]
    limiter: LimiterView
    adaptive: AdaptiveView
    logs_dropped: int
    frames_skipped: int
    hub_lag: float  # lateness of the last deadline sweep
    reloads: dict[str, int]  # "applied" and "failed"
    processes: dict[str, int] = {}  # with workers: "supervisor", "control", "worker-0", … → PID

    def continues(self, before: "Snapshot") -> bool:
        """Whether the same process speaks that made the one before, so that its events count on.

        The PID alone does not tell: a restart by SIGUSR2 keeps it, and a new control process shows its supervisor's. A
        step of the wall clock looks like another process; whoever asks for all events again loses nothing by that.
        """
        started, started_before = self.time - self.uptime, before.time - before.uptime
        return self.pid == before.pid and abs(started - started_before) < SAME_START


class Board:
    """The latest snapshot. Put by one greenlet, read by any thread."""

    def __init__(self, first: Snapshot) -> None:
        self._lock = Lock()
        self._latest = first

    def __repr__(self) -> str:
        return f"<Board of {self.latest().time:.3f}>"

    def put(self, snapshot: Snapshot) -> None:
        """Publish a snapshot."""
        with self._lock:
            self._latest = snapshot

    def latest(self) -> Snapshot:
        """The one published last."""
        with self._lock:
            return self._latest
