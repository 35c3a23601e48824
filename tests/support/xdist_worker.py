"""What pytest-xdist starts in place of `python`: its worker in a process that gevent patched, as a run without it is.

    python -m gevent.monkey --module tests.support.xdist_worker -u -c CODE

execnet's CODE reads orders in a thread of its own. That is a greenlet here, and its reads must let the tests run.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gevent.fileobject import FileObjectPosix

_fdopen = os.fdopen


def _orders(fd: int, *arguments: Any, **options: Any) -> FileObjectPosix:
    """`os.fdopen` for the first file that is opened: the one the orders come from."""
    os.fdopen = _fdopen
    return FileObjectPosix(fd, *arguments, **options)


if __name__ == "__main__":
    os.fdopen = _orders
    exec(sys.argv[-1])
