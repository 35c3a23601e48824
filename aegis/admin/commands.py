"""The commands that ask a running Aegis: what they print, and the exit code. Know no terminal and no command line."""

import time
from collections.abc import Callable
from typing import Final

from aegis.control import Control
from aegis.metrics.snapshot import BackendView, Snapshot

READY: Final = 0
NOT_READY: Final = 1
DONE: Final = 0
FAILED: Final = 1

LOOK: Final = 0.25
"""Seconds between two looks at a backend that drains."""

SAY: Final = 1.0
PATIENCE: Final = 5.0
"""Seconds after which a drain that does not show in the snapshot has been taken back."""

Say = Callable[[str], None]

_COLUMNS: Final = (
    "BACKEND",
    "HEALTH",
    "BREAKER",
    "WEIGHT",
    "IN FLIGHT",
    "REQUESTS",
    "ERRORS",
    "P50 MS",
    "P95 MS",
    "P99 MS",
)


def status(control: Control, say: Say) -> int:
    """A short table; 0 when ready, 1 when not."""
    snapshot = control.snapshot()
    for line in status_lines(snapshot):
        say(line)
    return READY if snapshot.ready else NOT_READY


def drain(
    control: Control,
    backend: str,
    say: Say,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Drain a backend and wait until it is empty, with a line a second; 1 when somebody takes that back meanwhile."""
    say(control.drain(backend))
    seen = said = clock()
    while True:
        view = _view(control.snapshot(), backend)
        now = clock()
        if view is None:
            say(f"{backend} is no longer configured")
            return FAILED
        if view.drained and not view.in_flight:
            say(f"{backend} is empty")
            return DONE
        if view.drained:
            seen = now
        elif now - seen > PATIENCE:  # until then the snapshot may be the one from before
            say(f"{backend} was resumed before it was empty")
            return FAILED
        if now - said >= SAY:
            said = now
            say(f"{backend}: {view.in_flight} in flight")
        sleep(LOOK)


def resume(control: Control, backend: str, say: Say) -> int:
    """Resume a backend."""
    say(control.resume(backend))
    return DONE


def reload(control: Control, say: Say) -> int:
    """Reload the file, and say what that changed."""
    done = control.reload()
    for change in done.applied:
        say(f"applied: {change}")
    for change in done.needs_restart:
        say(f"needs a restart: {change}")
    if not done.applied and not done.needs_restart:
        say("nothing changed")
    return DONE


def status_lines(snapshot: Snapshot) -> list[str]:
    """The snapshot for somebody who wants to know how it goes."""
    state = "ready" if snapshot.ready else f"NOT READY: {snapshot.not_ready}"
    connections, limiter = snapshot.connections, snapshot.limiter
    answers = "  ".join(f"{name} {count}" for name, count in sorted(snapshot.statuses.items()) if count)
    return [
        f"Aegis {snapshot.version} at {snapshot.listen}, {snapshot.stage} for {duration(snapshot.uptime)}, {state}",
        f"requests     {snapshot.requests}, {snapshot.rps:.1f}/s, {snapshot.in_flight} in flight  {answers}".rstrip(),
        f"connections  {connections.open} of {connections.limit}",
        f"rate limit   {limiter.rate:g}/s ({limiter.mode}), {limiter.limited} limited, {limiter.tracked} clients",
        "",
        *table([_COLUMNS, *map(_row, snapshot.backends)]),
        *(
            f"{view.name}: the last probe failed: {view.health_error}"
            for view in snapshot.backends
            if view.health_error
        ),
    ]


def _row(view: BackendView) -> tuple[str, ...]:
    weight = f"{view.weight}" if view.share == 1 else f"{view.weight} ({view.share:.0%})"
    breaker = view.breaker.replace("_", "-")
    return (
        view.name,
        f"{view.health}, drained" if view.drained else view.health,
        breaker,
        weight,
        str(view.in_flight),
        str(view.requests),
        str(view.errors),
        *("-" if each is None else f"{each:.1f}" for each in (view.p50_ms, view.p95_ms, view.p99_ms)),
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """`42s`, `3m 5s`, `2h 3m`, `5d 2h`."""
    whole = int(seconds)
    for unit, size, smaller, least in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // least}{smaller}"
    return f"{whole}s"


def _view(snapshot: Snapshot, backend: str) -> BackendView | None:
    return next((view for view in snapshot.backends if view.name == backend), None)
