"""The table of backends. On a narrow terminal it loses one column after the other; the name goes last."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from aegis.metrics.snapshot import BackendView
from aegis.tui.figures import count, duration, milliseconds, spark
from aegis.tui.styles import Style
from aegis.tui.text import Line, Size, Span, cell, cells, clean, cut_middle, fit

MARK: Final = "▸"
NAME_LEAST: Final = 10  # what stands above it: 38 OF 300
NAME_WISHED: Final = 14
NAME_LONGEST: Final = 32
SPARK_LEAST: Final = 4
SPARK_MOST: Final = 60
SPARK_TITLES: Final = ("P95 BY SECOND", "TREND", "P95~")


class Column(NamedTuple):
    """One column: the order in which it is given up (highest first), and what stands in it."""

    title: str
    width: int
    given_up: int
    align: Literal["left", "right"]
    show: Callable[[BackendView], tuple[str, Style]]


def health(backend: BackendView) -> tuple[str, Style]:
    """UP, DOWN, or NEW before the first probe."""
    return {"up": ("UP", Style.GOOD), "down": ("DOWN", Style.BAD)}.get(backend.health, ("NEW", Style.WATCH))


def breaker(backend: BackendView) -> tuple[str, Style]:
    """CLOSED, HALF-OPEN, or OPEN with the time that is left."""
    if backend.breaker == "closed":
        return "CLOSED", Style.GOOD
    if backend.breaker == "half_open":
        return "HALF-OPEN", Style.WATCH
    left = backend.breaker_opens_in
    return "OPEN" if left is None else f"OPEN {duration(left + 0.999)}", Style.BAD


def weight(backend: BackendView) -> tuple[str, Style]:
    """Weight and share of it, or how far a drain is: nobody gives a drained backend anything new."""
    if backend.drained:
        return ("DRAIN" if backend.in_flight else "DRAINED"), Style.WATCH
    style = Style.PLAIN if backend.share >= 1 else Style.WATCH
    return f"{backend.weight}×{backend.share * 100:.0f}%", style


def _number(show: Callable[[BackendView], str]) -> Callable[[BackendView], tuple[str, Style]]:
    return lambda backend: (show(backend), Style.PLAIN)


COLUMNS: Final = (
    Column("STATE", 5, 1, "left", health),
    Column("BREAKER", 9, 2, "left", breaker),
    Column("WEIGHT", 7, 3, "left", weight),
    Column("BUSY", 4, 6, "right", _number(lambda backend: count(backend.in_flight))),
    Column("REQS", 5, 7, "right", _number(lambda backend: count(backend.requests))),
    Column(
        "ERRS",
        5,
        5,
        "right",
        lambda backend: (count(backend.errors), Style.BAD if backend.errors else Style.PLAIN),
    ),
    Column("P50", 5, 10, "right", _number(lambda backend: milliseconds(backend.p50_ms))),
    Column("P95", 5, 4, "right", _number(lambda backend: milliseconds(backend.p95_ms))),
    Column("P99", 5, 9, "right", _number(lambda backend: milliseconds(backend.p99_ms))),
)
SPARK_GIVEN_UP: Final = 8


class Plan(NamedTuple):
    """What a width admits."""

    name: int
    columns: tuple[Column, ...]
    spark: int  # cells of the sparkline; 0 leaves it out


def plan(longest_name: int, room: int) -> Plan:
    """The columns that fit beside a name of at least the wished width."""
    longest_name = max(longest_name, NAME_LEAST)
    name = min(longest_name, NAME_WISHED)
    columns = list(COLUMNS)
    spark_kept = True
    while (needed := _needed(name, columns, SPARK_LEAST if spark_kept else 0)) > room:
        worst = max(columns, key=lambda column: column.given_up, default=None)
        if spark_kept and (worst is None or worst.given_up < SPARK_GIVEN_UP):
            spark_kept = False
        elif worst is not None:
            columns.remove(worst)
        else:
            return Plan(max(0, min(longest_name, room - len(MARK) - 1)), (), 0)
    left = room - needed
    more_name = min(left, max(0, min(longest_name, NAME_LONGEST) - name))
    spark_room = min(SPARK_MOST, SPARK_LEAST + left - more_name) if spark_kept else 0
    return Plan(name + more_name, tuple(columns), spark_room)


def _needed(name: int, columns: Sequence[Column], spark_room: int) -> int:
    return len(MARK) + 1 + name + sum(column.width + 1 for column in columns) + (spark_room + 1 if spark_room else 0)


def window(rows: int, total: int, chosen: int) -> range:
    """The rows that are shown of so many, the chosen one among them and in the middle if possible."""
    first = max(0, min(chosen - rows // 2, total - rows))
    return range(first, min(total, first + rows))


def backends(views: Sequence[BackendView], size: Size, chosen: str | None = None) -> list[Line]:
    """A line of titles and one line a backend."""
    layout = plan(max((cells(clean(view.name)) for view in views), default=NAME_LEAST), size.columns)
    names = [view.name for view in views]
    place = names.index(chosen) if chosen in names else 0
    shown = window(max(0, size.rows - 1), len(views), place)
    top = max((max(view.latency_history[-layout.spark :], default=0.0) for view in views), default=0.0)
    lines = [_titles(layout, len(shown), len(views))]
    lines += [_row(views[index], layout, top, chosen=views[index].name == chosen) for index in shown]
    return [fit(line, size.columns) for line in lines[: size.rows]]


def _titles(layout: Plan, shown: int, total: int) -> Line:
    name = "BACKEND" if shown == total else f"{shown} OF {total}"
    titles = [cell(name, layout.name)]
    titles += [cell(column.title, column.width, column.align) for column in layout.columns]
    if layout.spark:
        titles.append(next(title for title in SPARK_TITLES if len(title) <= layout.spark))
    return (Span("  " + " ".join(titles), Style.TITLE),)


def _row(view: BackendView, layout: Plan, top: float, *, chosen: bool) -> Line:
    line = [
        Span(f"{MARK} " if chosen else "  ", Style.STRONG),
        Span(cell(cut_middle(clean(view.name), layout.name), layout.name), Style.CHOSEN if chosen else Style.STRONG),
    ]
    for column in layout.columns:
        text, style = column.show(view)
        line += [Span(" "), Span(cell(text, column.width, column.align), style)]
    if layout.spark:
        line += [Span(" "), Span(spark(view.latency_history, layout.spark, top), Style.GOOD)]
    return tuple(line)
