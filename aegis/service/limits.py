"""The process's descriptor limit: raised to what is allowed, and what that means for `max_connections`."""

import os
import resource
from typing import Final

from aegis.config.schema import Config
from aegis.logs.writer import STDERR

SPARE: Final = 256
"""Descriptors beside connections: listener, log, event loop, resolver, libraries."""


def fill_standard_descriptors() -> None:
    """Open what was closed of stdin, stdout and stderr, or something else gets their numbers, and the log with it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE to the hard limit; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**31


def admitted_connections(wanted: int) -> int:
    """How many client connections this process can hold, once its limit is as high as it may be."""
    return clamp_connections(wanted, raise_descriptor_limit())


def clamp_connections(wanted: int, descriptors: int) -> int:
    """How many client connections fit: each may need one toward a backend too."""
    return max(1, min(wanted, (descriptors - SPARE) // 2))


def count_of(config: Config) -> int:
    """How many workers are asked for."""
    workers = config.server.workers
    return len(os.sched_getaffinity(0)) if isinstance(workers, str) else workers
