"""Trying again: may this failure be, within which budget, and where. Nothing is sent from here."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from gevent.event import Event as Flag

from aegis.config.schema import Retry
from aegis.context import RequestContext
from aegis.reasons import BackendError, Replay

if TYPE_CHECKING:
    from aegis.pool.backend import BackendState
    from aegis.pool.balancer import Policy

PATIENCE: Final = 0.25
"""Seconds that a retry waits for a place in the budget."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def may_retry(context: RequestContext, failure: BackendError, *, replayed: bool) -> bool:
    """Whether trying again is safe after this failure. replayed: it was replayed once already.

    A failed connect may always go to another backend, and what was not sent over a connection may go over a fresh one:
    the first piece of a body is still in hand. A connection that failed before any answer allows one replay, of an
    idempotent request without body: a request of which a body byte was sent, or a response byte came, is never sent
    twice.
    """
    if failure.replay in (Replay.ANOTHER_BACKEND, Replay.UNSENT):
        return True
    return (
        failure.replay is Replay.FRESH_CONNECTION
        and not replayed
        and context.body is None
        and context.method in IDEMPOTENT
    )


class Budget:
    """How many retries may be in flight: `budget_percent` of the requests in flight, and `min` in any case.

    So that backends which fail are not asked twice as often because they fail. A retry that finds no place waits for
    one, `PATIENCE` seconds at most: when a backend stops, all that it had in flight fails in the same moment, and each
    place is free again as soon as one of them is answered.
    """

    __slots__ = ("_freed", "_requests", "_section", "in_flight", "refused")

    def __init__(self, section: Retry, requests: Callable[[], int]) -> None:
        self._section = section
        self._requests = requests  # in flight with the backends
        self.in_flight = 0
        self.refused = 0  # retries that there was no place for
        self._freed = Flag()

    def __repr__(self) -> str:
        return f"<Budget {self.in_flight} retries in flight, {self.refused} refused>"

    def take(self) -> bool:
        """A place for one retry, to be given back once; False when none was free in time."""
        if self._full() and not self._wait():
            self.refused += 1
            return False
        self.in_flight += 1
        return True

    def give_back(self) -> None:
        """The retry is over."""
        self.in_flight -= 1
        self._freed.set()

    def _full(self) -> bool:
        # The request that asks has just given its own place with a backend back.
        allowed = max(self._section.min, (self._requests() + 1) * self._section.budget_percent // 100)
        return self.in_flight >= allowed

    def _wait(self) -> bool:
        """Whether a place was free in time."""
        until = monotonic() + PATIENCE
        while self.in_flight and (left := until - monotonic()) > 0:  # nobody would ever free one of no places
            self._freed.clear()
            self._freed.wait(left)
            if not self._full():
                return True
        return False

    def reconfigure(self, section: Retry) -> None:
        """Another section from now on."""
        self._section = section


class Retries:
    """What one request whose first attempt failed has been through. Made only then: most requests need none."""

    __slots__ = ("_budget", "_failed", "_holds", "_policy", "_refused", "_replayed")

    def __init__(self, budget: Budget, policy: "Policy") -> None:
        self._budget = budget
        self._policy = policy
        self._refused: frozenset[BackendState] = frozenset()  # a connect to these failed
        self._failed: frozenset[BackendState] = frozenset()  # these failed in any way
        self._replayed = False
        self._holds = False  # a place in the budget

    def __repr__(self) -> str:
        return f"<Retries after {len(self._failed)} backends{' replayed' if self._replayed else ''}>"

    def following(
        self, context: RequestContext, failure: BackendError, state: "BackendState"
    ) -> "tuple[BackendState, bool]":
        """(the backend for the next attempt, whether its connection has to be a fresh one) after `state` failed.

        Raises `failure` when it may not be tried again, the budget has no place, or there is no other backend.
        """
        self.end()
        if not may_retry(context, failure, replayed=self._replayed):
            raise failure
        self._failed |= {state}
        replaying = failure.replay in (Replay.FRESH_CONNECTION, Replay.UNSENT)
        self._replayed |= failure.replay is Replay.FRESH_CONNECTION
        if not replaying:
            self._refused |= {state}
        if not self._budget.take():
            raise failure
        self._holds = True
        following = self._policy.pick(self._failed)
        if following is None and replaying:
            following = self._policy.pick(self._refused)  # the same once more
        if following is None:
            self.end()
            raise failure
        # A replay goes over a fresh connection: parked ones may have died with the first.
        return following, replaying

    def end(self) -> None:
        """The attempt that was the retry is over. A second call does nothing."""
        if self._holds:
            self._holds = False
            self._budget.give_back()
