"""A monotonic clock that a test moves by hand."""

from __future__ import annotations


class ManualClock:
    """Called, it tells the time in seconds; time passes only by `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self.now += seconds

    def __repr__(self) -> str:
        return f"<ManualClock {self.now:.3f}>"
