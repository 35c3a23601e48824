"""Kinds of clients: each makes one visit over a raw socket and enters what it asked and heard into the ledger.

One more kind is one more function in KINDS. A visit raises ConnectionRefusedError alone, when nobody listens.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import gevent

from tests.stress.backends import target
from tests.stress.ledger import ANSWERED, BROKEN, CLOSED, LEFT, SILENT, Asked, Ledger, difference, fill
from tests.support.contract import check_every_response
from tests.support.raw_client import AbortedError, ConnectionEndedError, ProtocolError, RawClient, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.raw_client import Fields

PATIENCE = 20.0
"""Seconds without a byte after which a request counts as not answered: far beyond every timeout."""

FRAMINGS = ("length", "length", "chunked", "close")
WEBSOCKET: Fields = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@dataclass
class Visitor:
    """Who asks: where, from which address, by which dice, and in whose book."""

    address: tuple[str, int]
    source: str
    rng: random.Random
    ledger: Ledger

    def visit(self, kind: str) -> None:
        KINDS[kind][1](self)

    def talk(self, kind: str, **options: Any) -> Talk:
        return Talk(self, kind, **options)


class Talk:
    """One connection. `over` once no request can follow on it."""

    def __init__(self, visitor: Visitor, kind: str, **options: Any) -> None:
        self.visitor, self.kind, self.rng, self.ledger = visitor, kind, visitor.rng, visitor.ledger
        self._dialled = monotonic()
        self.client = RawClient(visitor.address, source=visitor.source, timeout=PATIENCE, **options)
        self.where = "{}:{}".format(*self.client.socket.getsockname())
        self.over = False
        self.waiting: list[Asked] = []  # sent and not heard of
        self._last: Asked | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing may lie behind the last answer."""
        if self._last is not None and not self.waiting and self._last.outcome == ANSWERED:
            with contextlib.suppress(OSError):
                if self.client.readable() and (stray := self.client.receive()):
                    self._last.faults.append(f"{len(stray)} bytes behind its answer: {stray[:200]!r}")
        self.client.close()

    def enter(self, method: str, size: int, **more: Any) -> Asked:
        """A request that is about to be sent."""
        fresh, late = self._last is None, monotonic() - self._dialled
        self._last = self.ledger.ask(self.kind, method, size, fresh=fresh, where=self.where, late=late, **more)
        self.waiting.append(self._last)
        return self._last

    def ask(
        self, method: str, size: int, framing: str = "length", fields: Fields | None = None, body: int = 0
    ) -> Asked:
        asked = self.enter(method, size, sent=body)
        self.push(head(asked, framing, fields, body) + fill(asked.token, body))
        return asked

    def push(self, data: bytes) -> bool:
        """Send; False when the other side takes no more, which may be because it has answered."""
        try:
            self.client.send(data)
        except OSError:
            return False
        return True

    def hear(self) -> Asked:
        """The answer to the first request that waits for one."""
        asked = self.waiting.pop(0)
        asked.outcome = self._hear(asked)
        asked.ended = monotonic()
        self.over |= asked.outcome != ANSWERED
        return asked

    def _hear(self, asked: Asked) -> str:
        try:
            response = self.client.read_response(asked.method)
        except TimeoutError:
            # If all of this was stopped for a while, the time is over before what has come was looked at.
            return self._hear(asked) if self.client.readable() else SILENT
        except ConnectionEndedError as ended:
            return BROKEN if ended.received else CLOSED
        except AbortedError as aborted:
            asked.status = aborted.response.status
            return BROKEN
        except ProtocolError as error:
            asked.faults.append(f"its answer is not HTTP: {error}")
            return BROKEN
        except OSError:
            return CLOSED
        self.over |= "close" in response.tokens("Connection")
        enter_answer(asked, response)
        return ANSWERED

    def hear_all(self) -> None:
        """All that waits; what the end of the connection left unheard of was closed away."""
        while self.waiting:
            if self.over:
                asked = self.waiting.pop(0)
                asked.outcome, asked.ended = CLOSED, monotonic()
            else:
                self.hear()

    def leave(self, *, reset: bool) -> None:
        """Go, whatever is still to come."""
        for asked in self.waiting:
            asked.outcome, asked.ended = LEFT, monotonic()
        self.over = True
        self.client.reset() if reset else self.client.close()


def head(asked: Asked, framing: str, fields: Fields | None = None, body: int = 0, version: str = "1.1") -> bytes:
    lines = [f"{asked.method} {target(asked.token, asked.size, framing)} HTTP/{version}", "Host: example.test"]
    lines += [f"{name}: {value}" for name, value in fields or []]
    if body:
        lines.append(f"Content-Length: {body}")
    return "\r\n".join([*lines, "", ""]).encode()


def enter_answer(asked: Asked, response: Response) -> None:
    """Whose is it, and is it whole?"""
    asked.status = response.status
    try:
        check_every_response(response)
        asked.request_id = response["X-Request-ID"]
    except AssertionError as error:
        asked.faults.append(f"its head: {error}")
    names = response.all("X-Stress")
    if not names:
        asked.refusal = response
        return
    token, _, asked.delivery = names[0].partition(" ")
    size = 0 if asked.method == "HEAD" or asked.status == 101 else asked.size
    if token != asked.token or len(names) != 1:
        asked.faults.append(f"it was given the answer to {names}")
    elif not (wrong := difference(asked.token, response.body, size)):
        return
    elif response.framing == "close" and fill(asked.token, size).startswith(response.body):
        asked.cut = wrong
    else:
        asked.faults.append(f"its answer of {response.framing} framing: {wrong}")


# the kinds


def small(visitor: Visitor) -> None:
    """Some requests one after the other over a kept connection."""
    rng = visitor.rng
    with visitor.talk("small") as talk:
        for _ in range(rng.randint(1, 12)):
            method = rng.choice(["GET", "GET", "GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT"])
            body = rng.randint(1, 2000) if method in {"POST", "PUT"} else 0
            talk.ask(method, rng.randint(0, 3000), rng.choice(FRAMINGS), body=body)
            talk.hear()
            if talk.over:
                return
            gevent.sleep(rng.random() / 50)


def large(visitor: Visitor) -> None:
    """A megabyte or so down, or up."""
    rng = visitor.rng
    with visitor.talk("large") as talk:
        if rng.random() < 0.5:
            talk.ask("GET", rng.randint(200_000, 2_000_000), rng.choice(FRAMINGS))
        else:
            talk.ask(rng.choice(["POST", "PUT", "PATCH"]), 100, body=rng.randint(100_000, 1_000_000))
        talk.hear()


def slow_reader(visitor: Visitor) -> None:
    """Takes its answer in sips: most do it fast enough, some do not."""
    rng = visitor.rng
    pause = rng.choice([0.001, 0.005, 0.02, 0.5])
    with visitor.talk("slow reader", receive_buffer=4096) as talk:
        talk.ask("GET", rng.randint(50_000, 600_000), rng.choice(FRAMINGS))
        until = monotonic() + rng.uniform(0.2, 2.5)
        while monotonic() < until:
            try:
                piece = talk.client.socket.recv(4096)
            except OSError:
                break
            talk.client.buffer += piece
            if not piece:
                break
            gevent.sleep(pause)
        talk.hear()


def slow_sender(visitor: Visitor) -> None:
    """Its head or its body comes in drips, and sometimes stops coming."""
    rng = visitor.rng
    with visitor.talk("slow sender") as talk:
        body = rng.choice([0, rng.randint(100, 3000)])
        asked = talk.enter("POST" if body else "GET", 200, sent=body)
        data = head(asked, "length", body=body) + fill(asked.token, body)
        if rng.random() < 0.2:
            data = data[: rng.randint(1, len(data))]  # and no more
        at = 0
        while at < len(data):
            step = rng.randint(1, max(2, len(data) // 5))
            if talk.client.readable() or not talk.push(data[at : at + step]):
                break
            at += step
            gevent.sleep(rng.uniform(0, 0.12))
        talk.hear()


def chunked(visitor: Visitor) -> None:
    """A body whose length nobody knows before."""
    rng = visitor.rng
    with visitor.talk("chunked") as talk:
        size = rng.choice([0, rng.randint(1, 5000), rng.randint(5000, 300_000)])
        asked = talk.enter(rng.choice(["POST", "PUT", "PATCH"]), rng.randint(0, 5000), sent=size)
        data = fill(asked.token, size)
        sent = talk.push(head(asked, rng.choice(FRAMINGS), [("Transfer-Encoding", "chunked")]))
        at = 0
        while sent and at < size:
            piece = data[at : at + rng.randint(1, 20_000)]
            sent = talk.push(b"%x\r\n%b\r\n" % (len(piece), piece))
            at += len(piece)
        if sent:
            talk.push(b"0\r\n\r\n")
        talk.hear()


def expecting(visitor: Visitor) -> None:
    """Sends its body once it is told to continue."""
    rng = visitor.rng
    with visitor.talk("expecting") as talk:
        body = rng.randint(1, 50_000)
        asked = talk.enter("POST", 300, sent=body)
        talk.push(head(asked, "length", [("Expect", "100-continue")], body))
        gevent.sleep(0.02)
        talk.push(fill(asked.token, body))
        talk.hear()


def pipelined(visitor: Visitor) -> None:
    """All of its requests in one go; the answers come in their order."""
    rng = visitor.rng
    with visitor.talk("pipelined") as talk:
        heads = [
            head(
                talk.enter(rng.choice(["GET", "GET", "HEAD", "DELETE"]), rng.randint(0, 4000)), rng.choice(FRAMINGS[:3])
            )
            for _ in range(rng.randint(2, 10))
        ]
        talk.push(b"".join(heads))
        talk.hear_all()


def aborted(visitor: Visitor) -> None:
    """Goes in the middle: of its head, of its body, of the wait, of the answer."""
    rng = visitor.rng
    with visitor.talk("aborted") as talk:
        body = rng.choice([0, rng.randint(100, 200_000)])
        asked = talk.enter("POST" if body else "GET", rng.choice([100, 300_000]), sent=body)
        data = head(asked, rng.choice(FRAMINGS), body=body) + fill(asked.token, body)
        if rng.random() < 0.4:
            data = data[: rng.randint(0, len(data))]
        talk.push(data)
        with contextlib.suppress(OSError):
            for _ in range(rng.randint(0, 3)):
                gevent.sleep(rng.random() / 20)
                if talk.client.readable():
                    talk.client.socket.recv(rng.choice([1, 1000, 100_000]))
        talk.leave(reset=rng.random() < 0.5)


def old(visitor: Visitor) -> None:
    """Speaks HTTP/1.0, and mostly knows no kept connections."""
    rng = visitor.rng
    with visitor.talk("old") as talk:
        kept = rng.random() < 0.3
        for _ in range(rng.randint(1, 4) if kept else 1):
            asked = talk.enter("GET", rng.randint(0, 20_000))
            fields = [("Connection", "keep-alive")] if kept else None
            talk.push(head(asked, rng.choice(FRAMINGS), fields, version="1.0"))
            talk.hear()
            if talk.over:
                return


FAULTS: tuple[tuple[bytes, bytes], ...] = (
    (b"Host: ", b"Host : "),
    (b"Host: example.test\r\n", b""),
    (b"Host: example.test\r\n", b"Host: example.test\r\nHost: example.test\r\n"),
    (b"Host: example.test", b"Host: elsewhere.test"),
    (b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    (b"HTTP/1.1", b"HTTP/2.0"),
    (b" /s/", b"  /s/"),
    (b"/length", b"/../length"),
    (b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nX: a\0b\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nX: " + b"a" * 9000 + b"\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nContent-Length: 99999999999\r\n\r\nhello"),
)
"""What is replaced in a sound head, and by what. Each is refused, and the connection closed."""


def malformed(visitor: Visitor) -> None:
    """A fault that is refused, perhaps behind a sound request, and a request behind it that must never be seen."""
    rng = visitor.rng
    with visitor.talk("malformed") as talk:
        sound = head(talk.enter("GET", 50), "length") if rng.random() < 0.3 else b""
        asked = talk.enter("POST", 50, malformed=True)
        was, becomes = rng.choice(FAULTS)
        wrong = head(asked, "length").replace(was, becomes, 1)
        smuggled = head(talk.enter("GET", 50, malformed=True), "length")
        talk.push(sound + wrong + smuggled)
        talk.hear_all()


def websocket(visitor: Visitor) -> None:
    """A tunnel: what is said comes back, then either side goes."""
    rng = visitor.rng
    with visitor.talk("websocket") as talk:
        size = rng.choice([100, 10_000, 300_000])
        asked = talk.ask("GET", size, "websocket", WEBSOCKET)
        talk.waiting.clear()
        asked.outcome = _through(talk, asked)
        asked.ended = monotonic()


def _through(talk: Talk, asked: Asked) -> str:
    try:
        response = talk.client.read_head()
        if response.status != 101:
            talk.client._read_body(response, "GET")
            enter_answer(asked, response)
            return ANSWERED
        enter_answer(asked, response)
        return _spoken(talk, asked)
    except TimeoutError:
        return SILENT
    except AbortedError:
        return BROKEN
    except (ConnectionEndedError, OSError):
        return BROKEN if asked.status else CLOSED


def _spoken(talk: Talk, asked: Asked) -> str:
    """Say it piece by piece, and hear it said back."""
    words, heard = fill(asked.token, asked.size), b""
    for at in range(0, asked.size, 20_000):
        if not talk.push(words[at : at + 20_000]):
            return BROKEN
        if talk.rng.random() < 0.02:
            talk.leave(reset=True)
            return LEFT
        while len(heard) < min(asked.size, at + 20_000):
            piece = talk.client.receive()
            if not piece:
                return BROKEN
            heard += piece
    if wrong := difference(asked.token, heard, asked.size):
        asked.faults.append(f"its tunnel said back {wrong}")
    return ANSWERED


KINDS: dict[str, tuple[int, Callable[[Visitor], None]]] = {
    "small": (30, small),
    "large": (6, large),
    "slow reader": (4, slow_reader),
    "slow sender": (5, slow_sender),
    "chunked": (8, chunked),
    "expecting": (4, expecting),
    "pipelined": (8, pipelined),
    "aborted": (8, aborted),
    "old": (4, old),
    "malformed": (8, malformed),
    "websocket": (8, websocket),
}
"""Name → (share of the visits, the visit)."""


def kinds(rng: random.Random) -> Iterator[str]:
    """Without end, by their shares."""
    names, shares = list(KINDS), [share for share, _ in KINDS.values()]
    while True:
        yield from rng.choices(names, shares, k=50)
