"""The event log: the newest at the bottom, as many as there is room for."""

from collections.abc import Sequence
from time import localtime, strftime
from typing import Final

from aegis.events import Event, Kind
from aegis.tui.styles import Style
from aegis.tui.text import Line, Size, Span, fit

LEVEL_STYLES: Final = {"WARNING": Style.WATCH, "ERROR": Style.BAD, "CRITICAL": Style.BAD}
COMPLETE: Final = frozenset({Kind.ADAPTIVE, Kind.BREAKER, Kind.BACKEND_UP, Kind.WARM_UP})
"""Kinds whose words say all that their fields do."""

SHORT: Final = {"WARNING": "WARN", "CRITICAL": "ERROR"}


def events(happened: Sequence[Event], size: Size) -> list[Line]:
    """A title and one line an event."""
    room = max(0, size.rows - 1)
    # What only a search for a fault wants to know (every hold of the adaptive loop) would push the rest off the screen.
    told = [event for event in happened if event.level != "DEBUG"]
    shown = told[-room:] if room else []
    lines: list[Line] = [(Span("EVENTS", Style.TITLE),)]
    lines += [_event(event) for event in shown] or [(Span("nothing yet", Style.FAINT),)]
    return [fit(line, size.columns) for line in lines[: size.rows]]


def _event(event: Event) -> Line:
    style = LEVEL_STYLES.get(event.level, Style.PLAIN)
    fields = {} if event.kind in COMPLETE else event.fields
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if _says_more(value, event.message))
    return (
        Span(strftime("%H:%M:%S ", localtime(event.time)), Style.FAINT),
        Span(f"{SHORT.get(event.level, event.level):5} ", style),
        Span(event.message, style),
        Span(f"  {rest}" if rest else "", Style.FAINT),
    )


def _says_more(value: object, message: str) -> bool:
    """The words were made from the fields: what stands in them is not said twice."""
    return value not in {None, ""} and str(value) not in message
