"""What may wait for long, in a thread of its own, so that the loop does not: one call at a time.

Knows nothing of what is called.
"""

import contextlib
import os
import select
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

T = TypeVar("T")


class LeftBehindError(Exception):
    """The call stayed in the process that forked."""


class SingleThread:
    """A thread that takes one call at a time. To be made by the process that uses it, whose loop it speaks to."""

    def __init__(self) -> None:
        self._pool = ThreadPool(1)
        self._end: AsyncResult[None] | None = None  # of the last call: set once `then` has run

    def __repr__(self) -> str:
        return f"<SingleThread {'busy' if self.busy else 'idle'}>"

    @property
    def busy(self) -> bool:
        """A call is under way, or `then` not yet told of it, even when the greenlet that started it is gone."""
        return self._end is not None and not self._end.ready()

    def start(self, call: Callable[[], T], then: Callable[[T], None]) -> None:
        """Begin a call; does not wait. Raises RuntimeError while another one is under way.

        then: told in the loop what the call returned, before whoever waits for it goes on and while this is still
        busy. What the call raises comes out of a `wait` that begins before its end, and is printed by the loop in any
        case, as nobody may be waiting.
        """
        if self.busy:
            raise RuntimeError("a call is under way")
        result, self._end = self._pool.spawn(call), AsyncResult()
        result.rawlink(partial(_pass_on, then, self._end))

    def wait(self) -> None:
        """Until the call that is under way, if any, has ended and `then` has run. Raises what the call raised."""
        if self._end is not None and self.busy:
            with contextlib.suppress(LeftBehindError):
                self._end.get()

    def settle(self, patience: float | None, begin_next: Callable[[], bool] = lambda: False) -> bool:
        """Wait until no call is under way and none is left to begin. False when that takes longer than `patience` s.

        begin_next: starts a call, if there is something to do, and says whether it did. Raises what a call raised
        that this waited for; one that failed before is not raised again.
        """
        with gevent.Timeout(patience, False):  # type: ignore[arg-type]  # its stubs know no False
            while self.busy or begin_next():
                self.wait()
            return True
        return False

    def after_fork(self) -> None:
        """In the child, before anything else runs: go on with another thread, as a fork takes none along.

        gevent gives a pool its threads back in the next turn of the loop only. A call that was under way has no end
        here: `then` is not told of it, and whoever waits for it goes on.
        """
        self._pool = ThreadPool(1)
        if self._end is not None and self.busy:
            self._end.set_exception(LeftBehindError())


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes. For a thread. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made the shared descriptor non-blocking
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _pass_on(then: Callable[[Any], None], end: "AsyncResult[None]", result: "AsyncResult[Any]") -> None:
    if end.ready():
        return  # left behind by a fork, just as it ended
    error = result.exception
    if error is not None:
        end.set_exception(error)
        return
    try:
        then(result.get())
    finally:
        end.set(None)
