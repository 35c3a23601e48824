"""Durations in Go's notation, as seconds."""

import re
from decimal import Decimal
from typing import Final, Self

_UNITS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,  # micro sign, the spelling Go prints
    "μs": 1_000,  # Greek mu, which looks the same
    "ns": 1,
}  # nanoseconds each
_PART: Final = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(h|ms|m|s|us|µs|μs|ns)", re.ASCII)
_LONGEST: Final = 8_760 * _UNITS["h"]


class Duration(float):
    """Seconds, read from and printed in Go style: `500ms`, `5s`, `1m30s`, `1h`, `100us`.

    Between 0 and 8760h (a year), to the nanosecond. Everything else raises ValueError; there is no sign, and a number
    without a unit is refused, but for a lone `0`.
    """

    __slots__ = ()

    def __new__(cls, value: str | float) -> Self:
        """Text in Go style, or seconds."""
        if isinstance(value, str):
            return super().__new__(cls, _nanoseconds(value) / 1_000_000_000)
        return super().__new__(cls, value)

    def __str__(self) -> str:
        # Decimal, because the float product is off by nanoseconds beyond 100 days.
        left = round(Decimal(self) * 1_000_000_000)
        if left < _UNITS["s"]:
            return _below_a_second(left)
        hours, left = divmod(left, _UNITS["h"])
        minutes, left = divmod(left, _UNITS["m"])
        parts = (
            f"{hours}h" if hours else "",
            f"{minutes}m" if minutes else "",
            f"{_scaled(left, 's')}s" if left else "",
        )
        return "".join(parts)

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


def _nanoseconds(text: str) -> int:
    if text == "0":
        return 0
    total, position = 0, 0
    while match := _PART.match(text, position):
        total += int(Decimal(match[1]) * _UNITS[match[2]])
        position = match.end()
    if position != len(text) or not text:
        raise ValueError("not a duration such as 500ms, 5s or 1m30s")
    if total > _LONGEST:
        raise ValueError("longer than 8760h")
    return total


def _below_a_second(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    unit = next(unit for unit in ("ms", "us", "ns") if nanoseconds >= _UNITS[unit])
    return f"{_scaled(nanoseconds, unit)}{unit}"


def _scaled(nanoseconds: int, unit: str) -> str:
    text = f"{Decimal(nanoseconds) / _UNITS[unit]:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
