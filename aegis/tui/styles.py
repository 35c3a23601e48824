"""What a piece of text means on screen, and how a terminal shows that. Panels name meanings only."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Style(Enum):
    """A meaning. Colour is never the only bearer of it: each state is a word too."""

    PLAIN = "plain"
    FAINT = "faint"  # what is there when one looks for it
    STRONG = "strong"
    TITLE = "title"  # of a panel or a column
    GOOD = "good"
    WATCH = "watch"  # not as it should be, not yet bad
    BAD = "bad"
    CHOSEN = "chosen"  # the selected row
    ASK = "ask"  # a question that waits for a key


LOOKS: Final[Mapping[Style, tuple[str, ...]]] = {
    Style.PLAIN: (),
    Style.FAINT: ("bright_black",),
    Style.STRONG: ("bold",),
    Style.TITLE: ("bold", "cyan"),
    Style.GOOD: ("green",),
    Style.WATCH: ("bold", "yellow"),
    Style.BAD: ("bold", "red"),
    Style.CHOSEN: ("reverse",),
    Style.ASK: ("reverse", "bold"),
}
"""Terminal attributes by their terminfo names. Without colour bold and reverse stay."""
