"""The adaptive loop: looks, decides, acts, and tells of it. When it ticks is the job table's business.

It knows latency windows and a count of refusals, not where they come from, and hands the rate to whoever enforces it.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from time import time
from typing import Final

from aegis.config.schema import Adaptive
from aegis.events import Events, Kind
from aegis.metrics.snapshot import AdaptiveView, DecisionView
from aegis.metrics.window import LatencyWindow, pooled_rank
from aegis.ratelimit.decide import Action, Code, Decision, LoopState, Tick, clamped, decide
from aegis.ratelimit.record import Entry, time_text, to_line

KEPT: Final = 60
"""Decisions that the ring remembers."""

SLICE: Final = 20
"""Windows that are sorted in one go: 4 ms at 1,000 samples each, in which no request is served."""

Windows = Callable[[], Iterable[tuple[LatencyWindow, bool]]]
"""Every backend's window, and whether the backend is healthy."""


class Watch:
    """Makes ticks: what was seen since the one before.

    refusals: how often clients were refused so far (in shadow mode: would have been). clock: the windows' own.
    pause: called every `SLICE` windows, to let others run.
    """

    def __init__(
        self, windows: Windows, refusals: Callable[[], int], clock: Callable[[], float], pause: Callable[[], object]
    ) -> None:
        self._windows = windows
        self._refusals = refusals
        self._clock = clock
        self._pause = pause
        self._totals: dict[LatencyWindow, int] = {}  # as the last tick found them, down backends too
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Watch over {len(self._totals)} windows, {self._refused} refusals>"

    def look(self) -> Tick:
        """One tick."""
        now, before, windows = self._clock(), self._totals, list(self._windows())
        healthy = [window for window, up in windows if up]
        refused_before, self._refused = self._refused, self._refusals()
        self._totals = {window: window.total for window, _ in windows}
        samples = sum(self._totals[window] - before.get(window, 0) for window in healthy)
        return Tick(
            p95_ms=self._p95(healthy, now),
            samples=samples,
            healthy_backends=len(healthy),
            limiter_refused=self._refused != refused_before,
        )

    def _p95(self, windows: list[LatencyWindow], now: float) -> float | None:
        """Over all of them together."""
        pooled = list[list[float]]()
        for number, window in enumerate(windows):
            if number and number % SLICE == 0:
                self._pause()
            pooled.append(sorted(window.latencies(now)))
        return pooled_rank(pooled, 95) if any(pooled) else None


class AdaptiveLoop:
    """Owns the rate. In shadow mode it decides as if it acted, on a rate of its own that nobody enforces.

    configured_rate: `rate_limit.requests_per_second`. act: takes the rate to enforce. record: takes a line for every
    tick. counts: decisions by action and code. clock: seconds since the epoch.
    """

    def __init__(
        self,
        section: Adaptive,
        configured_rate: float,
        look: Callable[[], Tick],
        act: Callable[[float], None],
        events: Events,
        record: Callable[[bytes], None],
        counts: Counter[tuple[str, str]],
        clock: Callable[[], float] = time,
    ) -> None:
        self.state = LoopState(configured_rate)
        self.p95_ms: float | None = None  # as the last tick saw it
        self.counts = counts
        self._section = section
        self._configured_rate = configured_rate
        self._look = look
        self._act = act
        self._events = events
        self._record = record
        self._clock = clock
        self._decisions: deque[DecisionView] = deque(maxlen=KEPT)
        self._last_code: Code | None = None

    def __repr__(self) -> str:
        mode = self._section.mode if self._section.enabled else "off"
        return f"<AdaptiveLoop {mode} {self.state.rate:g}/s of {self._configured_rate:g}>"

    def tick(self) -> None:
        """One decision, every `evaluation_interval`."""
        section = self._section
        if not section.enabled:
            return
        seen, before = self._look(), self.state
        self.state, decision = decide(before, seen, section, self._configured_rate)
        self.p95_ms = seen.p95_ms
        if section.mode == "enforce":
            self._act(self.state.rate)
        self._tell(seen, before, decision)

    def view(self) -> AdaptiveView:
        """For the snapshot."""
        section = self._section
        return AdaptiveView(
            enabled=section.enabled,
            mode=section.mode,
            threshold_ms=section.latency_threshold_ms,
            p95_ms=self.p95_ms,
            decisions=tuple(self._decisions),
        )

    def reconfigure(self, section: Adaptive, configured_rate: float) -> None:
        """Go on by another section. The rate survives, within the new bounds.

        A changed configured rate resets it to that. So does whatever ends or begins the loop's acting: a rate that
        nobody tunes any more would stay reduced for ever, one tuned in shadow was never tried.
        """
        same = configured_rate == self._configured_rate and _acts(section) == _acts(self._section)
        rate = clamped(self.state.rate, section) if same else configured_rate
        if rate != self.state.rate or not same:
            self.state = LoopState(rate)
        self._section, self._configured_rate = section, configured_rate
        self._act(rate if _acts(section) else configured_rate)

    def _tell(self, seen: Tick, before: LoopState, decision: Decision) -> None:
        """Counter, ring, record and event."""
        now = self._clock()
        entry = self._entry(time_text(now), seen, before, decision)
        self.counts[entry.action.value, entry.code.value] += 1
        self._decisions.append(_view(now, entry))
        self._record(to_line(entry))
        # A hold for the reason of the hold before is no news: else an idle proxy logs a line every interval.
        news = entry.action is not Action.HOLD or entry.code is not self._last_code
        self._last_code = entry.code
        _emit(self._events, entry, logging.INFO if news else logging.DEBUG)

    def _entry(self, now: str, seen: Tick, before: LoopState, decision: Decision) -> Entry:
        return Entry(
            time=now,
            p95_ms=seen.p95_ms,
            samples=seen.samples,
            healthy_backends=seen.healthy_backends,
            limiter_refused=seen.limiter_refused,
            rate_before=before.rate,
            just_reduced=before.just_reduced,
            action=decision.action,
            code=decision.code,
            words=decision.words,
            rate_after=self.state.rate,
            configured_rate=self._configured_rate,
            settings=self._section,
        )


def _acts(section: Adaptive) -> bool:
    return section.enabled and section.mode == "enforce"


def _view(now: float, entry: Entry) -> DecisionView:
    return DecisionView(
        time=now,
        action=entry.action.value,
        code=entry.code.value,
        words=entry.words,
        rate_before=entry.rate_before,
        rate_after=entry.rate_after,
        p95_ms=entry.p95_ms,
        samples=entry.samples,
    )


def _emit(events: Events, entry: Entry, level: int) -> None:
    shadow = " (shadow)" if entry.settings.mode == "shadow" else ""
    events.emit(
        Kind.ADAPTIVE,
        f"adaptive loop{shadow}: {entry.words}",
        level=level,
        action=entry.action.value,
        code=entry.code.value,
        rate_before=round(entry.rate_before, 3),
        rate_after=round(entry.rate_after, 3),
        p95_ms=None if entry.p95_ms is None else round(entry.p95_ms, 3),
        samples=entry.samples,
        healthy_backends=entry.healthy_backends,
        limiter_refused=entry.limiter_refused,
    )
