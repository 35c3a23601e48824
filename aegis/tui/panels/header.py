"""The top of the screen: what runs where, how much it does, what it answered, and what needs a human."""

from typing import Final

from aegis.metrics.snapshot import Snapshot
from aegis.tui.figures import count, duration, rate, spark
from aegis.tui.styles import Style
from aegis.tui.text import Line, Part, Size, Span, flow, part

REASONS_SHOWN: Final = 3
LATE: Final = 0.05
"""Seconds by which the loop may be late before the header says so."""

STATUS_STYLES: Final = {"2xx": Style.GOOD, "4xx": Style.WATCH, "499": Style.WATCH, "5xx": Style.BAD}


def header(snapshot: Snapshot, size: Size, *, paused: bool = False) -> list[Line]:
    """At most three lines."""
    lines = [
        flow(_identity(snapshot, paused=paused), size.columns),
        flow(_load(snapshot, size.columns), size.columns),
        flow(_answers(snapshot), size.columns),
    ]
    return lines[: size.rows]


def _identity(snapshot: Snapshot, *, paused: bool) -> list[Part]:
    stage_style = Style.GOOD if snapshot.stage == "serving" else Style.WATCH
    parts = [
        part(0, f"Aegis {snapshot.version}", Style.STRONG),
        part(0, snapshot.stage.upper(), stage_style),
        part(0, "PAUSED", Style.ASK) if paused else None,
        part(1, "READY", Style.GOOD)
        if snapshot.ready
        else part(1, f"NOT READY: {snapshot.not_ready}" if snapshot.not_ready else "NOT READY", Style.BAD),
        part(2, snapshot.listen),
        part(3, f"up {duration(snapshot.uptime)}"),
        part(5, f"workers {snapshot.workers}", Style.FAINT) if snapshot.workers > 1 else None,
        part(6, snapshot.source, Style.FAINT),
        part(7, f"pid {snapshot.pid}", Style.FAINT),
    ]
    return [each for each in parts if each is not None]


def _load(snapshot: Snapshot, columns: int) -> list[Part]:
    connections = snapshot.connections
    crowded = connections.open >= connections.limit
    parts = [
        Part(0, (Span(rate(snapshot.rps), Style.STRONG), Span(" req/s"))),
        part(4, spark(snapshot.rps_history, min(60, max(10, columns // 5))), Style.GOOD),
        Part(1, (Span(str(snapshot.in_flight), Style.STRONG), Span(" in flight"))),
        part(
            3,
            f"{connections.open:,} of {connections.limit:,} connections" + (" FULL" if crowded else ""),
            Style.BAD if crowded else Style.PLAIN,
        ),
        part(2, f"{snapshot.requests:,} requests"),
        part(5, f"{snapshot.retries:,} retries", Style.FAINT),
    ]
    if connections.accept_queue:
        parts.append(part(1, f"{connections.accept_queue} WAIT FOR ACCEPT", Style.WATCH))
    return parts


def _answers(snapshot: Snapshot) -> list[Part]:
    parts = [
        Part(2, (Span(f"{name} ", Style.FAINT), Span(count(number), STATUS_STYLES.get(name, Style.PLAIN))))
        for name, number in sorted(snapshot.statuses.items(), key=_by_class)
        if number or name != "1xx"
    ]
    parts += _alarms(snapshot)
    refused = sorted(((number, name) for name, number in snapshot.reasons.items() if number and name != "ok"))
    parts += [part(4, f"{name} {number:,}", Style.FAINT) for number, name in refused[-REASONS_SHOWN:][::-1]]
    aborted = {side: number for side, number in snapshot.aborted.items() if number}
    parts += [part(5, f"aborted by {side} {number:,}", Style.FAINT) for side, number in sorted(aborted.items())]
    return parts


def _alarms(snapshot: Snapshot) -> list[Part]:
    """What a human should look at; said only when it happened."""
    alarms = [
        (snapshot.logs_dropped, f"LOG LINES DROPPED {snapshot.logs_dropped:,}"),
        (snapshot.reloads.get("failed", 0), f"RELOADS FAILED {snapshot.reloads.get('failed', 0):,}"),
        (snapshot.hub_lag > LATE, f"LOOP LATE {snapshot.hub_lag * 1000:.0f} ms"),
        (snapshot.frames_skipped, f"frames skipped {snapshot.frames_skipped:,}"),
    ]
    return [part(1 if text.split(" ")[0].isupper() else 3, text, Style.WATCH) for wanted, text in alarms if wanted]


def _by_class(status: tuple[str, int]) -> tuple[str, bool]:
    """4xx before 499, which is one of its kind."""
    name = status[0]
    return name[:1], not name.endswith("xx")
