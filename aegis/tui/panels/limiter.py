"""The rate limiter and the adaptive loop behind it: the rate in force, its bounds, whom it hits, and why it is so."""

from aegis.metrics.snapshot import AdaptiveView, LimiterView, Snapshot
from aegis.tui.figures import duration, milliseconds, rate
from aegis.tui.styles import Style
from aegis.tui.text import Line, Part, Size, Span, flow, part

ACTION_STYLES = {"reduce": Style.BAD, "recover": Style.GOOD}


def limiter(snapshot: Snapshot, size: Size) -> list[Line]:
    """At most three lines."""
    lines = [
        flow(_rate(snapshot.limiter, snapshot.adaptive), size.columns),
        flow(_requests(snapshot.limiter), size.columns),
        flow(_decision(snapshot.adaptive, snapshot.time), size.columns),
    ]
    return lines[: size.rows]


def _rate(view: LimiterView, adaptive: AdaptiveView) -> list[Part]:
    cut_down = view.rate < view.configured_rate
    bounds = f"{rate(view.min_rate)}–{rate(view.max_rate)}"
    parts = [
        part(0, "LIMIT", Style.TITLE),
        Part(0, (Span(rate(view.rate), Style.WATCH if cut_down else Style.STRONG), Span(" req/s a client"))),
        part(1, "CUT", Style.WATCH) if cut_down else None,
        part(1, "RAISED", Style.GOOD) if view.rate > view.configured_rate else None,
        part(2, "SHADOW: nobody is refused", Style.WATCH) if view.mode == "shadow" else None,
        part(3, f"configured {rate(view.configured_rate)}"),
        part(4, f"bounds {bounds}") if adaptive.enabled else part(4, "not adaptive", Style.FAINT),
        part(5, f"burst {view.burst}"),
    ]
    return [each for each in parts if each is not None]


def _requests(view: LimiterView) -> list[Part]:
    parts = [
        part(0, "     "),
        part(1, f"{view.allowed:,} allowed"),
        part(1, f"{view.limited:,} limited", Style.WATCH if view.limited else Style.PLAIN),
        part(2, f"{view.shadow_limited:,} would be", Style.WATCH) if view.mode == "shadow" else None,
        part(3, f"{view.tracked:,} of {view.max_entries:,} addresses tracked"),
        part(4, f"{view.evictions:,} evicted", Style.WATCH) if view.evictions else None,
    ]
    return [each for each in parts if each is not None]


def _decision(view: AdaptiveView, now: float) -> list[Part]:
    if not view.enabled:
        return [part(0, "      the adaptive loop is off", Style.FAINT)]
    bound = f"P95 {milliseconds(view.p95_ms)} of {view.threshold_ms:g} ms"
    if not view.decisions:
        return [part(0, "     "), part(1, "no decision yet", Style.FAINT), part(2, bound)]
    last = view.decisions[-1]
    moved = rate(last.rate_before) + " → " + rate(last.rate_after)
    parts = [
        part(0, "     "),
        part(1, last.words, ACTION_STYLES.get(last.action, Style.PLAIN)),
        part(3, moved, ACTION_STYLES.get(last.action, Style.PLAIN))
        if last.rate_before != last.rate_after and "→" not in last.words
        else None,
        part(2, bound),
        part(4, f"{duration(now - last.time)} ago", Style.FAINT),
        part(5, "SHADOW: the rate is left alone", Style.WATCH) if view.mode == "shadow" else None,
    ]
    return [each for each in parts if each is not None]
