"""One value: its text decoded by the type the schema gives it, and words for what the type expects."""

import re
from typing import Any, Final

from msgspec import inspect

from aegis.config.duration import Duration
from aegis.config.keys import BOOLEANS, Key

# No leading zero: YAML 1.1 reads 010 as 8, people as 10.
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?", re.ASCII)

Number = inspect.IntType | inspect.FloatType


def decode(text: str, key: Key) -> Any:
    """The value that `text` means for this key; ValueError says what is expected instead."""
    try:
        return _decode(text, key.type, key.least)
    except ValueError:
        raise ValueError(f"must be {expected(key)}") from None


def expected(key: Key) -> str:
    """What a value of this key looks like, for "must be …"."""
    return _expected(key.type, key.least)


def _decode(text: str, kind: inspect.Type, least: str) -> Any:
    value: Any = text
    match kind:
        case inspect.BoolType():
            value = _one_of(BOOLEANS, text.lower())
        case inspect.LiteralType():
            value = _one_of({str(option): option for option in kind.values}, text)
        case inspect.IntType():
            value = _bounded(int(_matched(_INTEGER, text)), kind)
        case inspect.FloatType():
            value = _bounded(float(_matched(_NUMBER, text)), kind)
        case inspect.CustomType():
            value = _duration(text, least)
        case inspect.UnionType():
            value = _first(text, kind, least)
    return value


def _one_of(table: Any, text: str) -> Any:
    if text not in table:
        raise ValueError(text)
    return table[text]


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _bounded(value: float, kind: Number) -> float:
    inside = (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )
    if not inside:
        raise ValueError(value)
    return value


def _duration(text: str, least: str) -> Duration:
    value = Duration(text)
    if value < Duration(least or "1ns"):
        raise ValueError(text)
    return value


def _first(text: str, kind: inspect.UnionType, least: str) -> Any:
    for option in kind.types:
        try:
            return _decode(text, option, least)
        except ValueError:
            continue
    raise ValueError(text)


def _expected(kind: inspect.Type, least: str) -> str:
    words = "text"
    match kind:
        case inspect.BoolType():
            words = "true or false"
        case inspect.LiteralType():
            options = [str(value) for value in kind.values]
            words = f"one of {', '.join(options)}" if len(options) > 1 else options[0]
        case inspect.IntType() | inspect.FloatType():
            words = _range(kind)
        case inspect.CustomType():
            bound = f"of at least {least}" if least else "above 0"
            words = f"a duration {bound} and at most 8760h, such as 500ms, 5s or 1m30s"
        case inspect.UnionType():
            words = " or ".join(_expected(option, least) for option in kind.types)
        case inspect.VarTupleType():
            words = "a list, each item on a line of its own after a dash, or [in, brackets]"
    return words


def _range(kind: Number) -> str:
    what = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    low = f"above {kind.gt}" if kind.ge is None else f"of at least {kind.ge}"
    high = f"below {kind.lt}" if kind.le is None else f"at most {kind.le}"
    return f"{what} from {kind.ge} to {kind.le}" if None not in (kind.ge, kind.le) else f"{what} {low} and {high}"
