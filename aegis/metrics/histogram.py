"""How long things took: cumulative over all time in fixed buckets, as Prometheus wants it, and as percentiles."""

from itertools import accumulate
from typing import Final

from msgspec import Struct

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper ends of the buckets in seconds, each inclusive; one bucket more takes the rest."""


class Percentiles(Struct, frozen=True):
    """What a window holds at one moment. None without samples."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    samples: int


class Histogram:
    """Samples in seconds: how many fell into each bucket, and their sum.

    Whoever is on the hot path bumps both by itself, `buckets[bisect_left(BOUNDS, seconds)] += 1`: a call would cost as
    much again.
    """

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def __repr__(self) -> str:
        return f"<Histogram {sum(self.buckets)} samples, {self.seconds:.3f} s>"

    def add(self, other: "Histogram") -> None:
        """Count what another one counted."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds

    @property
    def cumulative(self) -> list[int]:
        """How many samples did not exceed each bound; the last one is all of them."""
        return list(accumulate(self.buckets))
