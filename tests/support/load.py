"""Clients that ask without pause over kept connections, and count every request that was not answered as it should."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

import gevent

from tests.support.raw_client import AbortedError, ConnectionEndedError, ProtocolError, RawClient

if TYPE_CHECKING:
    from collections.abc import Sequence


class Load:
    """`with Load(address) as load`: runs inside the block; afterwards `failures` says what went wrong.

    sources: the addresses that clients come from, dealt out in turn. pause: seconds from an answer to the next request.
    """

    def __init__(
        self, address: tuple[str, int], target: str = "/load", *, clients: int = 8, pause: float = 0.002,
        sources: Sequence[str | None] = (None,), expected: tuple[int, ...] = (200,),
    ) -> None:  # fmt: skip
        self.address = address
        self.target = target
        self.pause = pause
        self.expected = expected
        self.failures: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.connections = 0
        self._sources = [sources[number % len(sources)] for number in range(clients)]
        self._running = False

    def __enter__(self) -> Self:
        self._running = True
        self._greenlets = [gevent.spawn(self._ask_on, source) for source in self._sources]
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let every client finish the request it is at."""
        self._running = False
        gevent.joinall(self._greenlets, timeout=15)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def more(self, count: int = 200, within: float = 20.0) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.answered + count
        with gevent.Timeout(within, AssertionError(f"{self.answered} answered, {self.failures[:3]}")):
            while self.answered < wanted:
                gevent.sleep(0.01)

    def _ask_on(self, source: str | None) -> None:
        while self._running:
            try:
                with RawClient(self.address, source=source, timeout=10) as client:
                    self.connections += 1
                    self._ask_over(client)
            except (OSError, ConnectionEndedError, AbortedError, ProtocolError) as error:
                self.failures.append(repr(error))
                gevent.sleep(0.01)

    def _ask_over(self, client: RawClient) -> None:
        """Until the server says that this connection is over."""
        while self._running:
            response = client.get(self.target)
            self.statuses[response.status] += 1
            if response.status not in self.expected:
                self.failures.append(f"{response.status} {response.body!r}")
            if "close" in response.tokens("Connection"):
                return
            gevent.sleep(self.pause)
