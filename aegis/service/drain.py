"""The drain of one process: stop listening, let what is in flight end, tell the rest. Who asked is not known here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import gevent
from gevent.event import Event as Flag

from aegis.wire.server import Server

log = logging.getLogger("aegis")

IDLE_LINGER: Final = 0.2
"""Seconds in which a request already on its way over an idle connection is still served at a stop."""

TURN: Final = 0.05
"""Seconds from one look at what is left to the next."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a stop takes its time: with the listener still open, and for what is in flight then."""

    delay: float
    timeout: float


def say_progress(connections: int, in_flight: int, seconds_left: int) -> None:
    """One line."""
    log.info("draining", extra={"connections": connections, "in_flight": in_flight, "seconds_left": seconds_left})


def drain(
    server: Server,
    patience: Patience,
    force: Flag,
    others: Callable[[], int] = lambda: 0,
    say: Callable[[int, int, int], None] = say_progress,
) -> bool:
    """Drain the server; False when it was forced or did not end in time.

    force: ends it at once. others: counts what else has to end, such as the image that this one has replaced. say: told
    each second of connections, requests in flight and seconds left.
    """
    run_in_hub = gevent.get_hub().loop.run_callback
    if force.wait(patience.delay):
        return False
    started = said = monotonic()
    server.stop_keeping()
    run_in_hub(server.stop_listening)
    if force.wait(min(IDLE_LINGER, patience.timeout)):
        return False
    while server.open or others():
        now = monotonic()
        if force.is_set() or now - started >= patience.timeout:
            return False
        run_in_hub(server.close_idle)
        if now - started >= patience.timeout / 2 or server.only_endless():
            run_in_hub(server.close_endless)
        if now - said >= 1:
            said = now
            left = round(patience.timeout - (now - started))
            say(server.open, server.busy(), left)
        force.wait(TURN)
    return True
