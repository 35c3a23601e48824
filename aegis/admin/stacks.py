"""What every greenlet and thread is doing right now, as text. Equal stacks stand once, with their number."""

import gc
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable
from types import FrameType
from typing import Final

from greenlet import getcurrent, greenlet

MOST_LINES: Final = 30


def all_stacks(known: Iterable[greenlet] = ()) -> str:
    """known: greenlets that the collector does not see, because they were made before its objects were frozen."""
    found = {id(each): each for each in (*known, *_collected())}
    stacks = Counter(_of_greenlet(each) for each in found.values() if not each.dead)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    lines = [f"{count} × {stack}" for stack, count in stacks.most_common()]
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the only way to the stacks of threads
        if ident != own:
            lines.append(f"thread {names.get(ident, 'without a name')}\n{_text(frame)}")
    return "\n".join(lines)


def _collected() -> Iterable[greenlet]:
    # By type: isinstance would ask a weak proxy, and one whose object is gone raises.
    return (each for each in gc.get_objects() if issubclass(type(each), greenlet))


def _of_greenlet(each: greenlet) -> str:
    # [SECURITY] LogHygiene: not its repr, which shows the arguments it was started with, addresses among them.
    name = getattr(each, "name", "")
    if not name or name.startswith("Greenlet-"):  # gevent's own numbers would make equal stacks differ
        name = type(each).__name__
    if each is getcurrent():
        return f"{name} (this one)\n"
    if each.gr_frame is None:
        return f"{name} (not started)\n"
    return f"{name}\n{_text(each.gr_frame)}"


def _text(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame)[-MOST_LINES:])
