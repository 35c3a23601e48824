"""Clients that ask without pause over kept connections, and count every request that was not answered as it should."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Self

import gevent

from tests.support.raw_client import AbortedError, ConnectionEndedError, ProtocolError, RawClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.raw_client import Response

UNANSWERED = (ConnectionResetError, BrokenPipeError)


class Unanswered(NamedTuple):
    """A request of which not one byte of an answer came."""

    method: str
    target: str
    how: str


class Load:
    """`with Load(address) as load`: runs inside the block; afterwards `failures` says what went wrong.

    methods, sources: what clients ask with and the addresses that they come from, dealt out in turn; a POST has a body.
    pause: seconds from an answer to the next request. elsewhere: where clients go once `address` refuses them.
    Each request's target has a number of its own as its query, by which a backend's record tells them apart.
    """

    def __init__(
        self, address: tuple[str, int], target: str = "/load", *, clients: int = 8, pause: float = 0.002,
        sources: Sequence[str | None] = (None,), methods: Sequence[str] = ("GET",), expected: tuple[int, ...] = (200,),
        elsewhere: tuple[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.address = address
        self.elsewhere = elsewhere
        self.target = target
        self.pause = pause
        self.expected = expected
        self.failures: list[str] = []  # all that went wrong, the unanswered among them
        self.unanswered: list[Unanswered] = []
        self.statuses: Counter[int] = Counter()
        self.sent = 0
        self.refused = 0  # connects, by an address that clients can do without
        self.connections = 0
        self._numbers = count()
        self._clients = [(sources[number % len(sources)], methods[number % len(methods)]) for number in range(clients)]
        self._running = False

    def __enter__(self) -> Self:
        self._running = True
        self._greenlets = [gevent.spawn(self._ask_on, *client) for client in self._clients]
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

    def _ask_on(self, source: str | None, method: str) -> None:
        while self._running:
            try:
                with self._connected(source) as client:
                    self.connections += 1
                    self._ask_over(client, method)
            except (OSError, ConnectionEndedError, AbortedError, ProtocolError) as error:
                self.failures.append(repr(error))
                gevent.sleep(0.01)

    def _connected(self, source: str | None) -> RawClient:
        try:
            return RawClient(self.address, source=source, timeout=10)
        except ConnectionRefusedError:
            if self.elsewhere is None:
                raise
            self.refused += 1
            return RawClient(self.elsewhere, source=source, timeout=10)

    def _ask_over(self, client: RawClient, method: str) -> None:
        """Until the server says that this connection is over, or has closed it while nothing was asked."""
        while self._running and not _is_closed(client):
            response = self._ask(client, method)
            self.statuses[response.status] += 1
            if response.status not in self.expected:
                self.failures.append(f"{response.status} {response.body!r}")
            if "close" in response.tokens("Connection"):
                return
            gevent.sleep(self.pause)

    def _ask(self, client: RawClient, method: str) -> Response:
        target = f"{self.target}?{next(self._numbers)}"
        self.sent += 1
        try:
            client.request(method, target, body=b"x" * 100 if method == "POST" else b"")
            return client.read_response()
        except (ConnectionEndedError, *UNANSWERED) as error:
            if not getattr(error, "received", b""):
                self.unanswered.append(Unanswered(method, target, repr(error)))
            raise


def _is_closed(client: RawClient) -> bool:
    """Looked at before each request, as every HTTP client does. Raises ProtocolError when bytes came unasked."""
    if not client.readable():
        return False
    try:
        data = client.receive()
    except ConnectionResetError:
        return True
    if data:
        raise ProtocolError(f"nobody asked for {data!r}")
    return True
