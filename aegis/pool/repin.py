"""Looks a backend's name up again when its pinned addresses seem to be the wrong ones, and pins what is found if it is
good. Decides when and what follows; how a name becomes vetted addresses is the resolver's business.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from math import inf
from time import monotonic
from typing import Final, Protocol

from aegis.events import Events, Kind
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.transport.resolver import Address, VettingError

LEAST_BETWEEN: Final = 10.0
"""Seconds between two look-ups of one backend."""

AT_ONCE: Final = 4
"""Look-ups under way: as many as there are threads for them."""

Found = tuple[Address, ...] | VettingError
LookUp = Callable[[Backend], Found]
"""Blocks for as long as the resolver does; runs in a thread of its own."""


class Pending(Protocol):
    """A look-up under way."""

    def ready(self) -> bool:
        """Whether it is over."""

    def get(self) -> Found | None:
        """What it found, once it is over."""


Start = Callable[[LookUp, Backend], Pending]
"""Starts a look-up beside us."""


class Repinner:
    """`tick` collects what look-ups found and starts those that are due. Never waits."""

    def __init__(
        self,
        backends: Backends,
        look_up: LookUp,
        start: Start,
        events: Events,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.look_up = look_up
        self._backends = backends
        self._start = start
        self._events = events
        self._clock = clock
        self._pending: dict[BackendState, Pending] = {}
        self._started: dict[BackendState, float] = {}
        self._said: dict[BackendState, str] = {}

    def __repr__(self) -> str:
        return f"<Repinner {len(self._pending)} look-ups under way>"

    def tick(self) -> None:
        """Take over what was found, start what is due: at most one look-up in ten seconds for each backend."""
        self._forget()
        for state in [state for state, pending in self._pending.items() if pending.ready()]:
            self._take_over(state, self._pending.pop(state).get())
        for state in self._backends:
            if state.suspect and self._is_due(state):
                state.suspect = False
                self._started[state] = self._clock()
                self._pending[state] = self._start(self.look_up, state.backend)

    def _is_due(self, state: BackendState) -> bool:
        if state in self._pending or len(self._pending) >= AT_ONCE or _is_numeric(state.backend.host):
            return False
        return self._clock() - self._started.get(state, -inf) >= LEAST_BETWEEN

    def _take_over(self, state: BackendState, found: Found | None) -> None:
        if found is None:
            raise AssertionError("a look-up is over and found neither addresses nor an error")
        name, old = state.backend.name, state.backend.addresses
        if isinstance(found, VettingError):
            # [SECURITY] RepinnedAddress: one bad address and all that were found with it are refused; the vetted stay.
            kind = Kind.RESOLVE_FAILED if found.unresolved else Kind.RESOLVE_REFUSED
            self._say(state, kind, f"{name} keeps its addresses: {found}", str(found))
            return
        self._said.pop(state, None)
        if set(found) == set(old):
            return
        state.become(replace(state.backend, addresses=found))
        self._events.emit(
            Kind.RESOLVED,
            f"{name} is now at {_listed(found)}, no longer at {_listed(old)}",
            backend=name,
            addresses=_listed(found),
            before=_listed(old),
        )

    def _say(self, state: BackendState, kind: Kind, words: str, error: str) -> None:
        """Once for each failure, not again every ten seconds."""
        if self._said.get(state) != words:
            self._said[state] = words
            self._events.emit(kind, words, level=logging.WARNING, backend=state.backend.name, error=error)

    def _forget(self) -> None:
        """Let go of backends that a reload removed."""
        held = set(self._backends)
        for remembered in (self._pending, self._started, self._said):
            for state in remembered.keys() - held:
                del remembered[state]


def _listed(addresses: tuple[Address, ...]) -> str:
    return ", ".join(map(str, addresses))


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
