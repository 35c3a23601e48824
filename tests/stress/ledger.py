"""What was asked, what reached a backend, what was heard: one book, in which everything carries its request's token.

A token stands in the request's target, and over and over in its body and in that of its answer. Whatever crosses to
another request, or is cut, doubled or made up, shows in the first byte that is not its own.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.raw_client import Response

PREFIX = "/s/"

ANSWERED = "answered"  # one whole, well-framed answer
BROKEN = "broken off"  # the connection ended within the answer
CLOSED = "closed"  # the connection ended, or was never had, without a byte of an answer
LEFT = "left"  # the client went first
SILENT = "not answered"  # nothing came, and the connection stayed
OUTCOMES = (ANSWERED, BROKEN, CLOSED, LEFT, SILENT)


@dataclass(slots=True)
class Asked:
    """One request of one client, and what became of it as the client saw it."""

    token: str
    kind: str
    method: str
    size: int  # bytes of body that it asks for
    sent: int = 0  # bytes of body that came with it
    fresh: bool = True  # the first one on its connection
    malformed: bool = False
    where: str = ""  # its connection: the client's address and port
    late: float = 0.0  # seconds from its connect to it, of a fresh one
    began: float = 0.0
    ended: float = 0.0
    outcome: str = LEFT
    status: int = 0
    request_id: str = ""
    delivery: str = ""  # number of the delivery that the answer names; "" when it is Aegis's own
    cut: str = ""  # what was missing of an answer that ends with its connection
    refusal: Response | None = None  # an answer that is Aegis's own
    faults: list[str] = field(default_factory=list)  # what no answer may look like

    def __str__(self) -> str:
        seen = f" with {self.status}" if self.status else ""
        return f"{self.token} ({self.kind}, {self.method} from {self.where}, {self.outcome}{seen})"


@dataclass(slots=True)
class Delivery:
    """One request as a backend saw it. behaviour: how it answered; ending: what the script got to."""

    token: str
    number: str
    backend: str
    behaviour: str
    method: str
    at: float
    complete: bool = False  # its body too
    whole: bool = False  # the answer was sent to its end and nothing of it was a lie
    fault: str = ""  # what the proxy sent and must not send

    def __str__(self) -> str:
        ending = "answered" if self.whole else "not answered to its end"
        return f"delivery {self.number} to {self.backend} ({self.behaviour}, {ending})"


def fill(token: str, size: int) -> bytes:
    """The body of this length that is the token's own."""
    unit = f"<{token}>".encode()
    return (unit * (size // len(unit) + 1))[:size]


def difference(token: str, body: bytes, size: int) -> str:
    """Where `body` is not the token's own of `size` bytes, in words; "" when it is."""
    wanted = fill(token, size)
    if body == wanted:
        return ""
    at = next((i for i, (got, due) in enumerate(zip(body, wanted, strict=False)) if got != due), None)
    if at is None:
        return f"{len(body)} bytes of body where {size} were due"
    start = max(0, at - 20)
    return f"foreign bytes at {at} of {len(body)}: {body[start : at + 60]!r}, due was {wanted[start : at + 60]!r}"


def token_of(target: str) -> str:
    """The token in a target or path, "" when it is none of ours or cut off."""
    token, slash, _ = target.removeprefix(PREFIX).partition("/")
    return token if slash and target.startswith(PREFIX) else ""


class Ledger:
    """Of one round. Times are monotonic."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers = count()
        self._deliveries = count()
        self.asked: dict[str, Asked] = {}
        self.deliveries: list[Delivery] = []
        self.lines: list[dict[str, Any]] = []  # access lines of Aegis
        self.kills: list[float] = []  # when a worker was killed
        self.faults: list[str] = []  # of no request
        self.stopped_at = float("inf")  # when Aegis was told to stop

    def ask(self, kind: str, method: str, size: int, **more: Any) -> Asked:
        """Enter a request that is about to be sent."""
        asked = Asked(f"{self.name}-{next(self._numbers)}", kind, method, size, began=time.monotonic(), **more)
        self.asked[asked.token] = asked
        return asked

    def deliver(self, token: str, backend: str, behaviour: str, method: str) -> Delivery:
        """Enter a request whose head has reached a backend."""
        delivery = Delivery(token, str(next(self._deliveries)), backend, behaviour, method, time.monotonic())
        self.deliveries.append(delivery)
        return delivery

    def by_outcome(self) -> Counter[str]:
        return Counter(asked.outcome for asked in self.asked.values())

    def by_kind(self) -> Counter[str]:
        return Counter(asked.kind for asked in self.asked.values())

    def __repr__(self) -> str:
        return f"<Ledger {self.name} {len(self.asked)} asked, {len(self.deliveries)} delivered>"
