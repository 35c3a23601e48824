"""Whose the terminal is, and the modes in which a dashboard reads it. Must not know blessed: a start asks it first."""

import contextlib
import os
import termios
from typing import Any, Final

INPUT: Final = 0
OUTPUT: Final = 1


def in_foreground() -> bool:
    """Whether this process may use its terminal. Started with `&`, touching it would stop the process."""
    try:
        return os.tcgetpgrp(INPUT) == os.getpgrp()
    except OSError:
        return True  # not our controlling terminal: nobody stops us


def current() -> list[Any] | None:
    """The modes of the terminal as they are; None where there is none."""
    try:
        return termios.tcgetattr(INPUT)
    except termios.error:
        return None


def give_back(attributes: list[Any] | None) -> None:
    """Let the terminal be as it was, after a process that could not do so itself."""
    if attributes is not None:
        with contextlib.suppress(termios.error):  # it is gone: nothing has to be given back
            termios.tcsetattr(INPUT, termios.TCSANOW, attributes)


def key_by_key(attributes: list[Any]) -> list[Any]:
    """Terminal modes in which every key comes at once and unseen; Ctrl-C still interrupts, Ctrl-S does nothing."""
    changed = [*attributes[:6], list(attributes[6])]
    changed[0] &= ~(termios.IXON | termios.IXOFF)  # Ctrl-S would stall the screen
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    return changed
