"""A call that waits in its thread, as on a hung disk or a stopped terminal, until it is let go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class StuckCall:
    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._let_go = False

    def __call__(self) -> str:
        os.read(self._reader, 1)  # really waits: gevent leaves it as it is
        return "let go"

    def let_go(self) -> None:
        if not self._let_go:
            os.write(self._writer, b"x")
            self._let_go = True

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def stuck_in(thread) -> Iterator[StuckCall]:
    """Keeps the thread busy with such a call; it is let go at the end, if not before."""
    call = StuckCall()
    thread.start(call, lambda _: None)
    try:
        yield call
    finally:
        call.let_go()
        thread.wait()
        call.close()
