"""Snapshots and events made by hand, for panels and the dashboard."""

from __future__ import annotations

from msgspec.structs import replace

from aegis.events import Event, Kind
from aegis.metrics.snapshot import (
    AdaptiveView,
    BackendView,
    ConnectionsView,
    DecisionView,
    LimiterView,
    Snapshot,
)

NOON = 1_700_000_000.0


def backend_view(name="app-1", **changes) -> BackendView:
    view = BackendView(
        name=name,
        url=f"http://{name}:8080",
        addresses=("10.0.0.11:8080",),
        weight=1,
        share=1.0,
        health="up",
        health_error="",
        breaker="closed",
        breaker_opens_in=None,
        drained=False,
        eligible=True,
        in_flight=2,
        connections=4,
        requests=12_345,
        errors=0,
        p50_ms=1.234,
        p95_ms=12.34,
        p99_ms=123.4,
        samples=1000,
        latency_history=tuple(float(number % 9) for number in range(60)),
    )
    return replace(view, **changes)


def decision(**changes) -> DecisionView:
    view = DecisionView(
        time=NOON - 5,
        action="hold",
        code="few_samples",
        words="hold: 4 of 20 samples",
        rate_before=100.0,
        rate_after=100.0,
        p95_ms=12.3,
        samples=4,
    )
    return replace(view, **changes)


def snapshot(backends=None, limiter=None, adaptive=None, connections=None, **changes) -> Snapshot:
    view = Snapshot(
        time=NOON,
        version="0.1.0",
        pid=4711,
        stage="serving",
        uptime=3_725.0,
        listen="0.0.0.0:8080",
        source="conf/aegis.yml",
        workers=1,
        ready=True,
        not_ready="",
        in_flight=7,
        requests=123_456,
        rps=1234.5,
        rps_history=tuple(float(number) for number in range(60)),
        statuses={"1xx": 0, "2xx": 120_000, "3xx": 12, "4xx": 340, "5xx": 2, "499": 1},
        reasons={"ok": 120_000, "rate_limited": 300, "no_backend": 2},
        aborted={"client": 3, "backend": 0},
        retries=4,
        connections=replace(
            ConnectionsView(open=34, limit=10_000, accepted=400, idle_evicted=0, paused=0, accept_queue=0),
            **(connections or {}),
        ),
        backends=tuple(backends if backends is not None else (backend_view(f"app-{n}") for n in (1, 2, 3))),
        limiter=replace(
            LimiterView(
                mode="enforce",
                rate=100.0,
                configured_rate=100.0,
                min_rate=10.0,
                max_rate=500.0,
                burst=150,
                allowed=120_000,
                limited=300,
                shadow_limited=0,
                tracked=12,
                max_entries=65_536,
                evictions=0,
            ),
            **(limiter or {}),
        ),
        adaptive=replace(
            AdaptiveView(enabled=True, mode="enforce", threshold_ms=500.0, p95_ms=12.3, decisions=(decision(),)),
            **(adaptive or {}),
        ),
        logs_dropped=0,
        frames_skipped=0,
        hub_lag=0.001,
        reloads={"applied": 1, "failed": 0},
    )
    return replace(view, **changes)


def event(number=1, message="backend app-1 is up", **changes) -> Event:
    return Event(
        **{
            "number": number,
            "time": NOON + number,
            "kind": Kind.LOG,
            "level": "INFO",
            "message": message,
            "fields": {},
            **changes,
        }
    )
