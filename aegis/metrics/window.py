"""Latencies of one backend: a ring of the last samples, percentiles over those that are young enough, and a histogram.

`record` runs for every attempt; all else is computed when somebody asks. Knows neither requests nor backends.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from typing import Final

from aegis.config.schema import Metrics
from aegis.metrics.histogram import BOUNDS, Histogram, Percentiles

UNUSED: Final = (0.0, -inf)
"""A place in the ring that no sample has taken yet: its stamp is older than any horizon."""

FEW: Final = 1000
"""Values that are sorted rather than counted."""


class LatencyWindow:
    """The last `window_samples` latencies, or those of the last `window` seconds, whichever are fewer.

    The ring is one array that holds latency and stamp of a sample side by side, and the histogram is brought up to
    date once a round or when somebody looks: with 300 backends all that a sample touches is out of the cache, and each
    object more costs a request 1 %.
    """

    __slots__ = ("_before", "_end", "_filed", "_histogram", "_place", "_ring", "_span")

    def __init__(self, section: Metrics) -> None:
        self._span = float(section.window)
        self._ring = array("d", UNUSED) * section.window_samples  # in turn: a latency in ms, when it was recorded
        self._end = len(self._ring)
        self._place = 0  # where the next sample goes, and the oldest lies
        self._before = 0  # samples of earlier rounds
        self._filed = 0  # how far this round is in the histogram
        self._histogram = Histogram()

    def __repr__(self) -> str:
        return f"<LatencyWindow {self._end // 2} samples or {self._span:g} s, {self.total} recorded>"

    def record(self, latency_ms: float, now: float) -> None:
        """One more sample. now: seconds, monotonic, never less than at the call before."""
        ring, place = self._ring, self._place
        ring[place] = latency_ms
        ring[place + 1] = now
        self._place = place = place + 2
        if place == self._end:
            self._begin_round()

    def _begin_round(self) -> None:
        self._file()
        self._before += self._end // 2
        self._place = self._filed = 0

    def _file(self) -> None:
        latencies = self._ring[self._filed : self._place : 2]
        self._filed = self._place
        buckets = self._histogram.buckets
        for latency_ms in latencies:
            buckets[bisect_left(BOUNDS, latency_ms / 1000)] += 1
        self._histogram.seconds += sum(latencies) / 1000

    @property
    def total(self) -> int:
        """All that were ever recorded."""
        return self._before + self._place // 2

    @property
    def histogram(self) -> Histogram:
        """Of all that were ever recorded."""
        self._file()
        return self._histogram

    def latencies(self, now: float) -> list[float]:
        """In milliseconds, those at most `window` old, the oldest first."""
        samples = self._oldest_first()
        first = bisect_left(samples[1::2], now - self._span)
        return samples[2 * first :: 2].tolist()

    def newest(self, count: int) -> list[float]:
        """The last `count` samples in milliseconds, or as many as there are, the oldest first."""
        samples = self._oldest_first()
        unused = bisect_right(samples[1::2], UNUSED[1])
        first = max(unused, self._end // 2 - count)
        return samples[2 * first :: 2].tolist()

    def absorb(self, samples: list[float], total: int, histogram: Histogram, now: float) -> None:
        """Take over what another window recorded: its last samples, how many there were in all, and their histogram."""
        self._file()
        for latency_ms in samples:
            self._ring[self._place], self._ring[self._place + 1] = latency_ms, now
            self._place = self._filed = self._place + 2  # filed: they are in the histogram that comes with them
            if self._place == self._end:
                self._begin_round()
        self._before += total - len(samples)
        self._histogram.add(histogram)

    def percentiles(self, now: float) -> Percentiles:
        """P50, P95 and P99 of what `latencies` gives: 80 µs for 1,000 samples."""
        ordered = sorted(self.latencies(now))
        if not ordered:
            return Percentiles(None, None, None, 0)
        p50, p95, p99 = (nearest_rank(ordered, percent) for percent in (50, 95, 99))
        return Percentiles(p50, p95, p99, len(ordered))

    def reconfigure(self, section: Metrics) -> None:
        """Go on by another section; the newest samples stay, as many as there is place for."""
        self._file()
        self._span = float(section.window)
        end = 2 * section.window_samples
        if end == self._end:
            return
        total, kept = self.total, self._oldest_first()[-end:]
        self._ring = kept + array("d", UNUSED) * ((end - len(kept)) // 2)
        self._end = end
        # Behind the newest there is room, or the oldest lies at the start.
        self._place = self._filed = len(kept) % end
        self._before = total - self._place // 2

    def _oldest_first(self) -> "array[float]":
        return self._ring[self._place :] + self._ring[: self._place]


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` % of the values do not exceed.

    ordered: ascending, not empty; 1 ≤ percent ≤ 100. In whole numbers, so that no rounding moves a rank.
    """
    return ordered[(percent * len(ordered) + 99) // 100 - 1]


def pooled_rank(windows: Sequence[Sequence[float]], percent: int) -> float:
    """The same of all values together, each window ascending on its own and at least one of them not empty; ≥ 0.

    Halves the range of values until few are left in it: 1.5 ms for 300 windows of 1,000, where sorting them all
    together would keep requests waiting for 140.
    """
    rank = (percent * sum(map(len, windows)) + 99) // 100
    low, high = -1.0, max(window[-1] for window in windows if window)  # the value is above low and at most high
    below, upto = 0, sum(map(len, windows))  # values that are at most low, at most high
    while upto - below > FEW and low < (middle := (low + high) / 2) < high:
        count = sum([bisect_right(window, middle) for window in windows])
        if count >= rank:
            high, upto = middle, count
        else:
            low, below = middle, count
    left: list[float] = []
    for window in windows:
        first, end = bisect_right(window, low), bisect_right(window, high)
        left += window[first:end]
    left.sort()
    return left[rank - below - 1]
