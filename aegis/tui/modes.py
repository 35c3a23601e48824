"""Whose the terminal is, and the modes in which a dashboard reads it. Must not know blessed: a start asks it first."""

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


def key_by_key(attributes: list[Any]) -> list[Any]:
    """Terminal modes in which every key comes at once and unseen; Ctrl-C still interrupts, Ctrl-S does nothing."""
    changed = [*attributes[:6], list(attributes[6])]
    changed[0] &= ~(termios.IXON | termios.IXOFF)  # Ctrl-S would stall the screen
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    return changed
