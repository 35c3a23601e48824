"""Styled text measured in terminal cells: cleaning, cutting, padding. Knows nothing of what the text says."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from unicodedata import normalize

from wcwidth import wcwidth

from aegis.tui.styles import Style

HIDDEN: Final = "·"
"""Stands for a character that a terminal would act on instead of showing it."""

CUT: Final = "…"

_JOINING: Final = frozenset(map(chr, [*range(0x1F1E6, 0x1F200), *range(0x1F3FB, 0x1F400)]))
"""Halves of flags and skin tones: two cells alone, none of their own behind the right neighbour; terminals differ."""


class Span(NamedTuple):
    """Text of one style."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Span, ...]


class Size(NamedTuple):
    """Of a screen or a part of it, in cells."""

    columns: int
    rows: int


def clean(text: str) -> str:
    """The text with nothing in it that moves a cursor, changes a colour or takes cells by its neighbours."""
    if text.isascii() and text.isprintable():
        return text
    # [SECURITY] LogHygiene: escape sequences in names and messages would let whoever chose them write on the screen.
    return "".join(_shown(character) for character in normalize("NFC", text))


@lru_cache(maxsize=1024)
def _shown(character: str) -> str:
    plain = character.isprintable() and wcwidth(character) > 0 and character not in _JOINING
    return character if plain else HIDDEN


def cells(text: str) -> int:
    """How many cells a clean text takes; wide characters take two."""
    return len(text) if text.isascii() else sum(map(wcwidth, text))


def width(line: Iterable[Span]) -> int:
    """How many cells a line of clean text takes."""
    return sum(cells(span.text) for span in line)


def cut(text: str, room: int) -> str:
    """A clean text in at most `room` cells, with an ellipsis where something is missing."""
    if cells(text) <= room:
        return text
    kept, left = "", room - 1
    for character in text:
        left -= wcwidth(character)
        if left < 0:
            break
        kept += character
    return kept + CUT if room > 0 else ""


def cut_middle(text: str, room: int) -> str:
    """A clean text in at most `room` cells that keeps its start and its end: names differ at either."""
    if cells(text) <= room:
        return text
    tail, left = "", room // 2
    for character in reversed(text):
        left -= wcwidth(character)
        if left < 0:
            break
        tail = character + tail
    return cut(text, room - cells(tail)) + tail


def cell(text: str, room: int, align: Literal["left", "right"] = "left") -> str:
    """The text in exactly `room` cells."""
    short = cut(clean(text), room)
    gap = " " * (room - cells(short))
    return short + gap if align == "left" else gap + short


def fit(line: Iterable[Span], room: int) -> Line:
    """The line, clean and in at most `room` cells."""
    fitted, left = list[Span](), room
    for span in line:
        text = cut(clean(span.text), left)
        if text:
            fitted.append(Span(text, span.style))
            left -= cells(text)
    return tuple(fitted)


class Part(NamedTuple):
    """Something that a line says when there is room. Of the parts with the highest rank the last goes first."""

    rank: int
    spans: Line


def part(rank: int, text: str, style: Style = Style.PLAIN) -> Part:
    """A part of one span."""
    return Part(rank, (Span(text, style),))


def flow(parts: Iterable[Part], room: int, gap: str = "  ") -> Line:
    """As many of the parts as fit, in their order, with a gap between them."""
    kept = [Part(each.rank, tuple(Span(clean(s.text), s.style) for s in each.spans)) for each in parts]
    while len(kept) > 1 and sum(width(each.spans) + len(gap) for each in kept) - len(gap) > room:
        last = max(range(len(kept)), key=lambda index: (kept[index].rank, index))
        del kept[last]
    line = list[Span]()
    for number, each in enumerate(kept):
        line += [Span(gap), *each.spans] if number else each.spans
    return fit(line, room)
