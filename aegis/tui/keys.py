"""The keys of the dashboard: one table, from which the footer, the help, the README and read-only mode follow."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple


class Verb(Enum):
    """What a key asks for."""

    QUIT = "quit"
    PAUSE = "pause"
    DRAIN = "drain"
    PREVIOUS = "previous"
    NEXT = "next"
    HELP = "help"
    REDRAW = "redraw"


class Key(NamedTuple):
    """One key. A dangerous one changes what clients get: it asks first, and read-only mode has it not."""

    press: str  # as the terminal names it
    shown: str  # as a person calls it
    short: str  # for the footer; "" leaves it out
    text: str
    verb: Verb
    dangerous: bool = False


KEYS: Final = (
    Key("q", "q", "quit", "stop Aegis gracefully; requests in flight are served to their end", Verb.QUIT),
    Key("p", "p", "pause", "hold the picture still, or let it go on; Aegis itself goes on", Verb.PAUSE),
    Key(
        "d",
        "d",
        "drain/resume",
        "drain the selected backend or resume it; asks first",
        Verb.DRAIN,
        dangerous=True,
    ),
    Key("KEY_UP", "↑", "", "select the backend above", Verb.PREVIOUS),
    Key("KEY_DOWN", "↓", "", "select the backend below", Verb.NEXT),
    Key("?", "?", "help", "this list, or back to the picture", Verb.HELP),
    Key("KEY_CTRL_L", "Ctrl-L", "", "draw everything anew", Verb.REDRAW),
)

LEAVE: Final = Key("q", "q", "leave", "leave; the instance goes on", Verb.QUIT)
"""What q is in `aegis top`: an instance cannot be stopped over the admin listener."""


def table(*, remote: bool = False, read_only: bool = False) -> tuple[Key, ...]:
    """The keys that are to be had."""
    keys = [LEAVE if remote and key.verb is Verb.QUIT else key for key in KEYS]
    return tuple(key for key in keys if not (read_only and key.dangerous))


def by_press(keys: tuple[Key, ...]) -> Mapping[str, Key]:
    """The table by what the terminal reports."""
    return {key.press: key for key in keys}


def markdown() -> str:
    """The table for the documentation."""
    rows = [f"| `{key.shown}` | {key.text} |" for key in KEYS]
    return "\n".join(["| key | what it does |", "|---|---|", *rows]) + "\n"
