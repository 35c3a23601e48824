"""A replay as plain text: both rates side by side, their sums, and a plot. Steps in, lines out; ASCII only."""

from collections.abc import Iterator, Sequence
from typing import Final

from aegis.ratelimit.decide import Action, number
from aegis.ratelimit.replay import Step

HEIGHT: Final = 12
"""Rows of the plot."""

MARGIN: Final = 12
"""Columns of its axis."""

BOTH: Final = "@"
RECORDED: Final = "o"
REPLAYED: Final = "*"

_ROW: Final = "{:<24} {:>10} {:>8}  {:>10} {:<18}  {:>10} {:<18}"


def table(steps: Sequence[Step]) -> Iterator[str]:
    """A line for each tick; those whose rates differ are marked."""
    yield _ROW.format("", "", "", "recorded", "", "replayed", "").rstrip()
    yield _ROW.format("time", "p95_ms", "samples", "rate", "code", "rate", "code").rstrip()
    for step in steps:
        entry = step.entry
        if step.fresh:
            yield f"-- a start or a reload: both go on from {number(entry.rate_before)} --"
        p95 = "-" if entry.p95_ms is None else number(entry.p95_ms)
        old, new = number(entry.rate_after), number(step.state.rate)
        row = _ROW.format(entry.time, p95, entry.samples, old, entry.code, new, step.decision.code)
        yield f"{row} !=" if entry.rate_after != step.state.rate else row.rstrip()


def summary(steps: Sequence[Step]) -> Iterator[str]:
    """What it came to, recorded and replayed."""
    recorded = [(step.entry.action, step.entry.rate_after) for step in steps]
    replayed = [(step.decision.action, step.state.rate) for step in steps]
    yield f"{'':<12}{'recorded':>12}{'replayed':>12}"
    for name, action in (("reductions", Action.REDUCE), ("recoveries", Action.RECOVER)):
        counts = [sum(each is action for each, _ in side) for side in (recorded, replayed)]
        yield f"{name:<12}{counts[0]:>12}{counts[1]:>12}"
    for name, of in (("lowest", min), ("highest", max), ("last", lambda rates: rates[-1])):
        old, new = (number(of([rate for _, rate in side])) for side in (recorded, replayed))
        yield f"{name:<12}{old:>12}{new:>12}"


def plot(steps: Sequence[Step], columns: int) -> Iterator[str]:
    """Both rates over time in at most so many columns. Each column spans the lowest to the highest of its ticks."""
    old, new = [step.entry.rate_after for step in steps], [step.state.rate for step in steps]
    width = max(1, min(len(steps), columns - MARGIN))
    low, high = min(*old, *new), max(*old, *new)
    drawn = [_spans(side, width, low, high) for side in (old, new)]
    for row in range(HEIGHT - 1, -1, -1):
        value = low + (high - low) * row / (HEIGHT - 1)
        cells = (_cell(row, first, second) for first, second in zip(*drawn, strict=True))
        yield f"{number(value):>{MARGIN - 2}} |{''.join(cells)}".rstrip()
    ticks = -(-len(steps) // width)
    each = f"a column is {ticks} ticks" if ticks > 1 else "a column is a tick"
    yield f"{'':>{MARGIN - 2}} +{'-' * width}"
    yield f"{'':>{MARGIN}}{RECORDED} recorded  {REPLAYED} replayed  {BOTH} both; {each}"


def _spans(rates: Sequence[float], width: int, low: float, high: float) -> list[tuple[int, int]]:
    """(lowest row, highest row) of each column."""
    scale = (HEIGHT - 1) / (high - low) if high > low else 0.0
    spans = []
    for column in range(width):
        part = rates[column * len(rates) // width : (column + 1) * len(rates) // width]
        spans.append((round((min(part) - low) * scale), round((max(part) - low) * scale)))
    return spans


def _cell(row: int, old: tuple[int, int], new: tuple[int, int]) -> str:
    in_old, in_new = old[0] <= row <= old[1], new[0] <= row <= new[1]
    if in_old and in_new:
        return BOTH
    return RECORDED if in_old else REPLAYED if in_new else " "
