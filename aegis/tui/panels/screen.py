"""The whole screen: who gets how many rows, and all panels put together. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from aegis.events import Event
from aegis.metrics.snapshot import Snapshot
from aegis.tui.keys import Key
from aegis.tui.panels.backends import backends
from aegis.tui.panels.events import events
from aegis.tui.panels.guide import footer, guide, waiting
from aegis.tui.panels.header import header
from aegis.tui.panels.limiter import limiter
from aegis.tui.text import Line, Size

EVENTS_LEAST: Final = 4
LEAST_WITH_KEYS: Final = 3
EVENTS_SHARE: Final = 3
"""One row of so many goes to the events before the backends get more than the least."""


class Picture(NamedTuple):
    """All that one frame shows."""

    snapshot: Snapshot | None  # None: there is nothing to show yet
    events: Sequence[Event]
    keys: tuple[Key, ...]
    chosen: str | None = None
    paused: bool = False
    help: bool = False
    note: str = ""
    asking: bool = False
    waiting: str = ""


class Rows(NamedTuple):
    """How many rows each part gets; with `air` there is an empty one between them."""

    header: int
    backends: int
    limiter: int
    events: int
    footer: int
    air: bool


def rows(total: int, number: int) -> Rows:
    """Rows for `number` backends. What matters most survives on the smallest screen: first line, backends, keys."""
    foot = 1 if total >= LEAST_WITH_KEYS else 0
    head = min(3, max(1, total - 4)) if total else 0
    left = total - foot - head
    air = left >= 3 + 3 + EVENTS_LEAST + 4
    left -= 3 if air else 0
    table = min(number + 1, left)
    limit = min(3, max(0, left - min(table, 4)))
    log_least = min(max(EVENTS_LEAST, left // EVENTS_SHARE), max(0, left - limit - min(table, 4)))
    table = min(table, left - limit - log_least)
    return Rows(head, max(0, table), limit, max(0, left - limit - table), foot, air)


def screen(picture: Picture, size: Size) -> list[Line]:
    """Exactly `size.rows` lines, none wider than `size.columns`."""
    last = footer(picture.keys, picture.note, size.columns, asking=picture.asking)
    body = Size(size.columns, max(0, size.rows - 1))
    if picture.help:
        lines = guide(picture.keys, body)
    elif picture.snapshot is None:
        lines = waiting(picture.waiting, body)
    else:
        lines, last_fits = _panels(picture, picture.snapshot, size)
        if not last_fits:
            return _filled(lines, size.rows)
    return [*_filled(lines, size.rows - 1), last][-size.rows :] if size.rows else []


def _panels(picture: Picture, snapshot: Snapshot, size: Size) -> tuple[list[Line], bool]:
    share = rows(size.rows, len(snapshot.backends))
    gap: list[Line] = [()] if share.air else []
    lines = header(snapshot, Size(size.columns, share.header), paused=picture.paused)
    lines += gap + backends(snapshot.backends, Size(size.columns, share.backends), picture.chosen)
    lines += gap + limiter(snapshot, Size(size.columns, share.limiter))
    lines += gap + events(picture.events, Size(size.columns, share.events))
    return lines, bool(share.footer)


def _filled(lines: list[Line], number: int) -> list[Line]:
    return (lines + [()] * number)[: max(0, number)]
