"""When descriptors run out: how a system call says so, and how others may be asked to give one up."""

import errno
from collections.abc import Callable
from typing import Final

SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""It is this process, or this machine, that has nothing left; no peer is to blame."""

MakeRoom = Callable[[], bool]
"""Lets go of one descriptor that nobody needs at the moment; False when there is none."""


def no_room() -> bool:
    """A MakeRoom that holds nothing."""
    return False
