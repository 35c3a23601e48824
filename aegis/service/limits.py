"""The process's descriptor limit: raised to what is allowed, and what that means for `max_connections`."""

import resource
from typing import Final

SPARE: Final = 256
"""Descriptors beside connections: listener, log, event loop, resolver, libraries."""


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
