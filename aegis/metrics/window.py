"""Latencies of one backend: a ring of the last samples, percentiles over those that are young enough, and a histogram.

`record` runs for every attempt; all else is computed when somebody asks. Knows neither requests nor backends.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from typing import Final

from msgspec import Struct

from aegis.config.schema import Metrics
from aegis.metrics.histogram import BOUNDS, Histogram

NEVER: Final = -inf
"""The stamp of a place in the ring that no sample has taken yet: older than any horizon."""

FEW: Final = 1000
"""Values that are sorted rather than counted."""


MOST_WAITING: Final = 128  # numbers, two a sample


class Percentiles(Struct, frozen=True):
    """What a window holds at one moment. None without samples."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    samples: int


class LatencyWindow:
    """The last `window_samples` latencies, or those of the last `window` seconds, whichever are fewer.

    Samples wait in a short array until somebody looks or it is full: filing one in the middle of a request touches
    memory that is cold by then, filing many in a row does not. Arrays, since 300 backends with lists of numbers would
    push 20 MB through the processor's cache.
    """

    __slots__ = ("_filed", "_histogram", "_size", "_span", "_stamps", "_values", "_waiting")

    def __init__(self, section: Metrics) -> None:
        self._waiting = array("d")  # in turn: a latency in ms, when it was recorded
        self._filed = 0  # its rest by the size is the place of the next one, where the oldest lies
        self._histogram = Histogram()
        self._span = float(section.window)
        self._size = section.window_samples
        self._values = array("d", [0.0]) * self._size
        self._stamps = array("d", [NEVER]) * self._size

    def __repr__(self) -> str:
        return f"<LatencyWindow {self._size} samples or {self._span:g} s, {self.total} recorded>"

    def record(self, latency_ms: float, now: float) -> None:
        """One more sample. now: seconds, monotonic, never less than at the call before."""
        waiting = self._waiting
        waiting.append(latency_ms)
        waiting.append(now)
        if len(waiting) >= MOST_WAITING:
            self._file()

    def _file(self) -> None:
        values, stamps, size, filed = self._values, self._stamps, self._size, self._filed
        buckets, milliseconds = self._histogram.buckets, 0.0
        waiting = self._waiting
        self._waiting = array("d")
        for latency_ms, now in zip(waiting[::2], waiting[1::2], strict=True):
            place = filed % size
            values[place] = latency_ms
            stamps[place] = now
            filed += 1
            buckets[bisect_left(BOUNDS, latency_ms / 1000)] += 1
            milliseconds += latency_ms
        self._filed = filed
        self._histogram.seconds += milliseconds / 1000

    @property
    def total(self) -> int:
        """All that were ever recorded."""
        return self._filed + len(self._waiting) // 2

    @property
    def histogram(self) -> Histogram:
        """Of all that were ever recorded."""
        self._file()
        return self._histogram

    def latencies(self, now: float) -> list[float]:
        """In milliseconds, those at most `window` old, the oldest first."""
        self._file()
        stamps = _from(self._stamps, self._filed % self._size)
        first = bisect_left(stamps, now - self._span)
        return _from(self._values, self._filed % self._size)[first:].tolist()

    def newest(self, count: int) -> list[float]:
        """The last `count` samples in milliseconds, or as many as there are, the oldest first."""
        self._file()
        held = min(count, self._filed, self._size)
        return list(_from(self._values, self._filed % self._size)[self._size - held :])

    def absorb(self, samples: list[float], total: int, histogram: Histogram, now: float) -> None:
        """Take over what another window recorded: its last samples, how many there were in all, and their histogram."""
        self._file()
        size, samples = self._size, samples[-self._size :]
        self._skip(total - len(samples))
        for latency_ms in samples:
            place = self._filed % size
            self._values[place], self._stamps[place] = latency_ms, now
            self._filed += 1
        self._histogram.add(histogram)

    def _skip(self, count: int) -> None:
        """Count samples of which nothing else is known; the ring turns, so that the next place stays the oldest."""
        if count:
            start, size = self._filed % self._size, self._size
            values, stamps = _from(self._values, start), _from(self._stamps, start)
            self._filed += count
            turn = size - self._filed % size
            self._values, self._stamps = _from(values, turn), _from(stamps, turn)

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
        if section.window_samples == self._size:
            return
        start, size = self._filed % self._size, section.window_samples
        values, stamps = _from(self._values, start)[-size:], _from(self._stamps, start)[-size:]
        missing = size - len(values)
        # The oldest has to lie where the next sample goes.
        turn = size - self._filed % size
        self._values = _from(array("d", [0.0]) * missing + values, turn)
        self._stamps = _from(array("d", [NEVER]) * missing + stamps, turn)
        self._size = size


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
    left = sorted(
        value for window in windows for value in window[bisect_right(window, low) : bisect_right(window, high)]
    )
    return left[rank - below - 1]


def _from(ring: "array[float]", start: int) -> "array[float]":
    """A copy that begins at `start` and goes once around."""
    return ring[start:] + ring[:start]
