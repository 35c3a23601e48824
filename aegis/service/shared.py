"""What every process of an Aegis with workers is given, and how the configuration is shared out among them."""

import contextlib
import os
import socket
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from aegis.config.schema import CircuitBreaker, Config
from aegis.pool.backend import Backend
from aegis.pool.breaker import Breaker
from aegis.pool.health import Condition
from aegis.process.breaker import SharedBreaker
from aegis.process.publication import Pages, Publication
from aegis.process.shared import CONTROL, DOWN, SLOTS, UP, Board
from aegis.transport.resolver import Address

if TYPE_CHECKING:
    from aegis.service.parts import Parts
    from aegis.service.source import Source


@dataclass(slots=True)
class Common:
    """Made by the supervisor before the first fork; a child has its own copy of all but the shared memory."""

    board: Board
    pages: Pages
    source: "Source"
    config: Config
    backends: list[Backend]
    listen: str  # where clients connect, as host:port
    boxes: list[tuple[socket.socket, socket.socket]]  # of each worker: control's end, its own
    sockets: dict[str, socket.socket]  # of the admin listener, by name
    by_client: bool  # the kernel steers by the client's address
    slots: dict[str, int]
    supervisor: int = field(default_factory=os.getpid)

    @property
    def workers(self) -> int:
        """How many."""
        return len(self.boxes)

    @property
    def orphaned(self) -> bool:
        """Whether the supervisor is gone."""
        return os.getppid() != self.supervisor

    def make_breaker(self, worker: int, name: str, section: CircuitBreaker) -> Breaker:
        """A backend's breaker, as one of the processes has it (CONTROL: as control has it)."""
        return SharedBreaker(section, self.board.slot(self.slots[name], worker))

    def know_slots(self) -> None:
        """In a process that starts later: a backend that came back has another slot than it had at the start."""
        if self.board.generation:
            with contextlib.suppress(ValueError):  # it is being written: whoever starts reads it again
                self.slots = {**self.slots, **self.pages.read(self.board.generation).slots}

    def breakers_of(self, worker: int) -> "partial[Breaker]":
        """The same for `build`."""
        return partial(self.make_breaker, worker)


def first_slots(backends: list[Backend]) -> dict[str, int]:
    """At start each backend has the slot of its place."""
    return {backend.name: number for number, backend in enumerate(backends)}


def next_slots(slots: dict[str, int], backends: list[Backend]) -> dict[str, int]:
    """Who stays keeps its slot; who comes gets one that nobody had until now, so that no process mixes them up."""
    taken = set(slots.values())
    free = (number for number in range(SLOTS) if number not in taken)
    return {each.name: slots[each.name] if each.name in slots else next(free) for each in backends}


def published_backends(config: Config, page: Publication) -> list[Backend]:
    """The backends of a configuration that was published, at the addresses that were vetted for it."""
    return [
        Backend(
            each.name, each.scheme, each.host, each.port, each.weight,
            tuple(Address(host, port) for host, port in page.addresses[each.name]),
        )
        for each in config.backends
    ]  # fmt: skip


def share_of(config: Config, workers: int, *, by_client: bool) -> Config:
    """The configuration of one worker. A client whose connections are spread gets its limit from all together."""
    section = config.rate_limit
    divisor = 1 if by_client else workers
    shared_out = replace(
        section,
        requests_per_second=max(1.0, section.requests_per_second / divisor),
        burst=max(1, section.burst // divisor),
        max_entries=max(1, section.max_entries // workers) if by_client else section.max_entries,
    )
    return replace(config, rate_limit=shared_out)


def follow(parts: "Parts", common: Common, worker: int) -> None:
    """Take over what control found, and what breakers did elsewhere."""
    changed = False
    for state in parts.backends:
        slot = common.board.slot(common.slots[state.backend.name], worker)
        health, share, drained = slot.health()
        if (state.healthy, state.share, state.drained) != (health != DOWN, share, drained):
            state.healthy, state.share, state.drained = health != DOWN, share, drained
            changed = True
        if isinstance(state.breaker, SharedBreaker):
            changed |= state.breaker.follow()
    if changed:
        parts.backends.changed()


def known_health(parts: "Parts", common: Common) -> None:
    """A control process that replaces another goes on with what that one knew."""
    for state in parts.backends:
        health, share, drained = common.board.slot(common.slots[state.backend.name], CONTROL).health()
        if health:
            state.health.condition = Condition.UP if health == UP else Condition.DOWN
            state.healthy, state.share = health == UP, share
        state.drained = drained
    parts.backends.changed()
