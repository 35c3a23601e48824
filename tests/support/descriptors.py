"""A process that has run out of descriptors: by its real limit, for as long as a test needs it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def none_left(but: int = 0) -> Iterator[None]:
    """Lower the soft limit so that `but` more descriptors can be opened and the next one fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    while fillers[-1] <= highest:  # no gap is left below
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in fillers:
            os.close(descriptor)
