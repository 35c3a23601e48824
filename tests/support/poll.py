"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import gevent

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(question: Callable[[], T], what: str, within: float = 3.0) -> T:
    """The first true answer to `question`; AssertionError naming `what` when none came `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        gevent.sleep(0.005)


def settled(measure: Callable[[], int], quiet: float = 0.3, within: float = 10.0) -> int:
    """The value of `measure` once it stood still for `quiet` seconds."""
    deadline = time.monotonic() + within
    last, since = measure(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() > deadline:
            raise AssertionError(f"still moving after {within} s: {last}")
        gevent.sleep(0.01)
        now = measure()
        if now != last:
            last, since = now, time.monotonic()
    return last
