"""Numbers as people read them at a glance, in few cells. Pure."""

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
NOTHING: Final = "–"


def count(number: int) -> str:
    """At most five cells: 12345, 123k, 12.3M, 456M, 4.56G."""
    if number < 100_000:
        return str(number)
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < 999.5 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number / 1e12:.0f}T"


def milliseconds(value: float | None) -> str:
    """At most five cells: 0.82, 12.3, 1234, 12.3s; a dash without a value."""
    if value is None:
        return NOTHING
    if value >= 9999.5:
        return f"{value / 1000:.1f}s" if value < 99_950 else f"{value / 1000:.0f}s"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"


def rate(value: float) -> str:
    """Requests per second: two digits of a fraction below ten, none above a hundred."""
    if value < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.1f}".rstrip("0").rstrip(".") if value < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """The two largest units: 45s, 3m12s, 2h05m, 4d03h."""
    whole = max(0, int(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minutes}m{second:02d}s" if minutes else f"{second}s"


def spark(values: Sequence[float], room: int, top: float | None = None) -> str:
    """The last `room` values as bars in exactly so many cells; a value of 0 leaves its cell empty.

    top: the value of a full bar, the largest of the shown ones unless given.
    """
    if room <= 0:
        return ""
    shown = values[-room:]
    highest = max(shown, default=0.0) if top is None else top
    return "".join(_bar(value, highest) for value in shown).rjust(room)


def _bar(value: float, highest: float) -> str:
    if value <= 0 or highest <= 0:
        return " "
    return BARS[min(len(BARS) - 1, int(value / highest * len(BARS)))]
