"""Medians, quartiles and paired rounds. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quartiles:
    lower: float
    median: float
    upper: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lower:.3f} to {self.upper:.3f})"


def quartiles(values: Sequence[float]) -> Quartiles:
    """By linear interpolation between the closest ranks; raises ValueError when there are none."""
    if not values:
        raise ValueError("quartiles of nothing")
    ordered = sorted(values)
    return Quartiles(*(_at(ordered, share) for share in (0.25, 0.5, 0.75)))


def _at(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def ratio_of_rounds(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Median of the ratios taken within each round, so that drift of the machine between rounds cancels out."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b > 0]
    return median(ratios) if ratios else None


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Each round begins with another contestant: whoever comes first meets a colder machine."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def paired(first: Callable[[], T], second: Callable[[], T], rounds: int) -> list[tuple[T, T]]:
    """Measure in the order A B B A A B B A …, which cancels a linear drift; one (A, B) for each round."""
    pairs = []
    for number in range(rounds):
        if number % 2 == 0:
            a, b = first(), second()
        else:
            b, a = second(), first()
        pairs.append((a, b))
    return pairs
