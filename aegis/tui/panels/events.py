"""The event log: the newest at the bottom, as many as there is room for."""

from collections.abc import Sequence
from time import localtime, strftime
from typing import Final

from aegis.events import Event
from aegis.tui.styles import Style
from aegis.tui.text import Line, Size, Span, fit

LEVEL_STYLES: Final = {"WARNING": Style.WATCH, "ERROR": Style.BAD, "CRITICAL": Style.BAD, "DEBUG": Style.FAINT}
SHORT: Final = {"WARNING": "WARN", "CRITICAL": "ERROR"}


def events(happened: Sequence[Event], size: Size) -> list[Line]:
    """A title and one line an event."""
    room = max(0, size.rows - 1)
    shown = happened[-room:] if room else []
    lines: list[Line] = [(Span("EVENTS", Style.TITLE),)]
    lines += [_event(event) for event in shown] or [(Span("nothing yet", Style.FAINT),)]
    return [fit(line, size.columns) for line in lines[: size.rows]]


def _event(event: Event) -> Line:
    style = LEVEL_STYLES.get(event.level, Style.PLAIN)
    rest = " ".join(f"{key}={value}" for key, value in event.fields.items() if _says_more(value, event.message))
    return (
        Span(strftime("%H:%M:%S ", localtime(event.time)), Style.FAINT),
        Span(f"{SHORT.get(event.level, event.level):5} ", style),
        Span(event.message, style),
        Span(f"  {rest}" if rest else "", Style.FAINT),
    )


def _says_more(value: object, message: str) -> bool:
    """The words were made from the fields: what stands in them is not said twice."""
    return value not in {None, ""} and str(value) not in message
