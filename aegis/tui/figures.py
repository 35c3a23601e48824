"""Numbers as people read them at a glance, in few cells. Pure."""

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
NOTHING: Final = "–"


# (below this, so many digits behind the point): three digits that mean something.
_DIGITS: Final = ((9.995, 2), (99.95, 1), (float("inf"), 0))
_UNITS: Final = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
_FIVE_DIGITS: Final = 99_999
_FOUR_DIGITS: Final = 9999.5


def count(number: int) -> str:
    """At most five cells: 12345, 123k, 12.3M, 456M, 4.56G."""
    if number <= _FIVE_DIGITS:
        return str(number)
    unit, size = next((unit for unit in _UNITS[1:] if number < 999.5 * unit[1]), _UNITS[-1])
    return f"{_three(number / size)}{unit}"


def milliseconds(value: float | None) -> str:
    """At most five cells: 0.82, 12.3, 1234, 12.3s; a dash without a value."""
    if value is None:
        return NOTHING
    return _three(value) if value < _FOUR_DIGITS else f"{_three(value / 1000)}s"


def rate(value: float) -> str:
    """Requests per second: 0.5, 12.3, 1,234."""
    text = _three(value)
    return text.rstrip("0").rstrip(".") if "." in text else f"{value:,.0f}"


def _three(value: float) -> str:
    digits = next(digits for bound, digits in _DIGITS if value < bound)
    return f"{value:.{digits}f}"


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
    return BARS[-1] if value >= highest else BARS[int(value / highest * len(BARS))]
