"""The help, the footer, and what stands there while there is nothing to show. All of it follows from the key table."""

from collections.abc import Sequence
from typing import Final

from aegis.tui.keys import Key
from aegis.tui.styles import Style
from aegis.tui.text import Line, Part, Size, Span, fit, flow

WORDS: Final = (
    ("UP DOWN NEW", "what its health probes say; NEW before the first"),
    ("CLOSED OPEN HALF-OPEN", "circuit breaker: OPEN takes nothing, HALF-OPEN a few"),
    ("2×50%", "weight, and the share it gets of it while it warms up"),
    ("DRAIN DRAINED", "gets nothing new; DRAINED: nothing in flight either"),
    ("P50 P95 P99", "ms from the last byte asked to the head answered"),
    ("CUT RAISED", "the adaptive loop moved the rate from the configured"),
)


def guide(keys: Sequence[Key], size: Size) -> list[Line]:
    """The keys and the words of the picture."""
    lines: list[Line] = [(Span("KEYS", Style.TITLE),)]
    lines += [(Span(f"  {key.shown:8}", Style.STRONG), Span(key.text)) for key in keys]
    lines += [(), (Span("WORDS", Style.TITLE),)]
    lines += [(Span(f"  {word:22} ", Style.STRONG), Span(text)) for word, text in WORDS]
    return [fit(line, size.columns) for line in lines[: size.rows]]


def footer(keys: Sequence[Key], note: str, columns: int, *, asking: bool = False) -> Line:
    """The last line: a question, else the latest note, else the keys."""
    if note:
        return fit((Span(note, Style.ASK if asking else Style.STRONG),), columns)
    shown = [
        Part(number, (Span(key.shown, Style.STRONG), Span(f" {key.short}", Style.FAINT)))
        for number, key in enumerate(keys)
        if key.short
    ]
    arrows = Part(len(shown), (Span("↑↓", Style.STRONG), Span(" select", Style.FAINT)))
    return flow([*shown, arrows], columns)


def waiting(words: str, size: Size) -> list[Line]:
    """The screen of `aegis top` while the instance cannot be asked."""
    lines: list[Line] = [(), (Span("  WAITING  ", Style.ASK), Span(" "), Span(words))]
    return [fit(line, size.columns) for line in lines[: size.rows]]
