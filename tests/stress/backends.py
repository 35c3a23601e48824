"""Backends on real sockets that answer, delay, hang, break off and lie, and enter each delivery into the ledger.

How a request is answered depends on its token, its attempt and the backend's mode alone, so that a seed repeats it.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from typing import TYPE_CHECKING, Self

import gevent
from gevent.pool import Group

from aegis.proxy.upload import FIRST_READ
from tests.stress.ledger import PREFIX, Delivery, Ledger, difference, fill, token_of
from tests.support.ports import free_port
from tests.support.scripted_backend import Connection, MalformedError, PeerLeftError, Request, answer, chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    Behaviour = Callable[["Telling"], None]

ACCEPT = ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
PIECE = 16_384
SHARE = 0.4
"""Of the requests that a backend misbehaves to, while it does."""

WELL, SICK, FLAPPING, MIXED = "well", "sick", "flapping", "mixed"


class Telling:
    """One answer in the making: to whom, what it asked for, and the words."""

    def __init__(self, connection: Connection, request: Request, delivery: Delivery, rng: random.Random) -> None:
        self.connection, self.request, self.delivery, self.rng = connection, request, delivery, rng
        _, _, _, size, self.framing = request.target.split("/")
        self.size = int(size)
        self.body = fill(delivery.token, self.size)

    def fields(self) -> list[tuple[str, str]]:
        return [("X-Stress", f"{self.delivery.token} {self.delivery.number}")]

    def head(self, *, status: int = 200, length: int | None = None, chunked: bool = False) -> bytes:
        coding = [("Transfer-Encoding", "chunked")] if chunked else []
        return answer(status, [*self.fields(), *coding], length=length)

    def whole(self, status: int = 200) -> bytes:
        """Head and body as the request asked for them."""
        if self.request.method == "HEAD":
            return self.head(status=status, length=self.size)
        if self.framing == "chunked":
            pieces = [self.body[at : at + PIECE] for at in range(0, self.size, PIECE)]
            return self.head(status=status, chunked=True) + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
        if self.framing == "close":
            return answer(status, [*self.fields(), ("Connection", "close")], length=None) + self.body
        return self.head(status=status, length=self.size) + self.body

    def end(self) -> None:
        """All of it was sent."""
        self.delivery.whole = True
        if self.framing == "close" and self.request.method != "HEAD":
            self.connection.close()


# what backends do. Those in BROKEN must never look like a whole answer to a client.


def well(telling: Telling) -> None:
    telling.connection.send(telling.whole())
    telling.end()


def slow(telling: Telling) -> None:
    """The head takes its time, the body comes in pieces."""
    data = telling.whole()
    gevent.sleep(telling.rng.uniform(0.05, 0.4))
    step = max(1, len(data) // 4)
    for at in range(0, len(data), step):
        if at:
            gevent.sleep(telling.rng.uniform(0, 0.05))
        telling.connection.send(data[at : at + step])
    telling.end()


def failing(telling: Telling) -> None:
    telling.connection.send(telling.whole(500))
    telling.end()


def interim(telling: Telling) -> None:
    telling.connection.send(answer(103, [("Link", "</x>")], length=None), telling.whole())
    telling.end()


def more_than_said(telling: Telling) -> None:
    """A whole answer, and behind it another that nobody asked for.

    In one piece, since what comes after the next request was sent is its answer to anybody. A small one fills what the
    proxy reads first, so that the stray bytes are found by no read of the answer.
    """
    body = b"" if telling.request.method == "HEAD" else telling.body
    whole = telling.head(length=telling.size) + body
    padding = ("X-Padding", "x" * (FIRST_READ - len(whole) - len("X-Padding: \r\n")))
    if padding[1]:
        whole = answer(200, [*telling.fields(), padding], length=telling.size) + body
    telling.connection.send(whole + b"HTTP/1.1 200 OK\r\nX-Stress: stray 0\r\nContent-Length: 5\r\n\r\nstray")
    telling.delivery.whole = True


def hang(telling: Telling) -> None:
    """No byte until the proxy has had enough."""
    telling.connection.wait_until_peer_leaves(60)


def hang_in_body(telling: Telling) -> None:
    telling.connection.send(telling.head(length=telling.size + 10), telling.body)
    telling.connection.wait_until_peer_leaves(60)


def close_before_head(telling: Telling) -> None:
    telling.connection.close()


def reset_before_head(telling: Telling) -> None:
    telling.connection.reset()


def close_in_head(telling: Telling) -> None:
    telling.connection.send(telling.whole()[: telling.rng.randint(1, 30)])
    telling.connection.close()


def reset_in_body(telling: Telling) -> None:
    telling.connection.send(telling.head(length=telling.size + 1000), telling.body)
    gevent.sleep(0.02)
    telling.connection.reset()


def less_than_said(telling: Telling) -> None:
    telling.connection.send(telling.head(length=telling.size + 7), telling.body)
    telling.connection.close()


def cut_in_chunk(telling: Telling) -> None:
    data = b"%x\r\n" % (telling.size + 20) + telling.body
    telling.connection.send(telling.head(chunked=True), data)
    telling.connection.close()


def bad_chunk(telling: Telling) -> None:
    telling.connection.send(telling.head(chunked=True), chunk(b"x" + telling.body), b"-1\r\n\r\n0\r\n\r\n")
    telling.connection.wait_until_peer_leaves(60)


def garbage(telling: Telling) -> None:
    line = telling.rng.choice([b"HTTP/1.1 999x OK", b"ICY 200 OK", b"\0\0\0\0", b"HTTP/1.1 200 OK\nX: y", b"<html>"])
    telling.connection.send(line, b"\r\nContent-Length: 0\r\n\r\n")
    telling.connection.wait_until_peer_leaves(60)


SOUND: dict[str, Behaviour] = {
    WELL: well, "slow": slow, "failing": failing, "interim": interim, "more than said": more_than_said,
}  # fmt: skip
BROKEN: dict[str, Behaviour] = {
    "hang": hang,
    "hang in body": hang_in_body,
    "close before head": close_before_head,
    "reset before head": reset_before_head,
    "close in head": close_in_head,
    "reset in body": reset_in_body,
    "less than said": less_than_said,
    "cut in chunk": cut_in_chunk,
    "bad chunk": bad_chunk,
    "garbage": garbage,
}
BEHAVIOURS = SOUND | BROKEN
MODES = (*BEHAVIOURS, SICK, FLAPPING, MIXED)


class StressBackend:
    """One backend on an address that survives being killed. `ledger` is that of the round."""

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.address = free_port()
        self.url = "http://{}:{}".format(*self.address)
        self.seed = seed
        self.mode = WELL
        self.ledger = Ledger("none")
        self._attempts: Counter[str] = Counter()
        self._probes = 0
        self._listener: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._unframed: set[Connection] = set()  # within an answer that ends with its connection
        self._greenlets = Group()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def begin(self, ledger: Ledger) -> None:
        """Another round."""
        self.ledger = ledger
        self._attempts.clear()

    @property
    def running(self) -> bool:
        return self._listener is not None

    @property
    def open(self) -> int:
        """Connections of the proxy."""
        return len(self._connections)

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.address)
        listener.listen(256)
        self._listener = listener
        self._greenlets.spawn(self._accept, listener)

    def kill(self) -> None:
        """As a program that has died: connects are refused, what was open is gone."""
        if self._listener is not None:
            self._greenlets.kill()
            self._listener.close()
            self._listener = None
            while self._connections:  # those that were accepted and not served yet
                self._connections.pop().close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            connection.recording = False
            self._connections.add(connection)
            self._greenlets.spawn(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            while not connection.closed and (request := connection.read_head()):
                connection.requests.clear()
                if "".join(request.all("User-Agent")).startswith("aegis-health/"):
                    self._be_probed(connection)
                else:
                    self._answer(connection, request)
        except MalformedError as fault:
            self.ledger.faults.append(f"{self.name} was sent what no proxy may send: {fault}")
        except (OSError, PeerLeftError):
            pass  # the proxy left, or the script closed under our feet
        finally:
            self._connections.discard(connection)
            if connection in self._unframed and not connection.closed:
                connection.reset()  # a mere end would make what is there a whole answer, to anybody
            self._unframed.discard(connection)
            connection.close()

    def _be_probed(self, connection: Connection) -> None:
        self._probes += 1
        sick = self.mode == SICK or (self.mode == FLAPPING and self._probes % 6 >= 3)
        connection.send(answer(503 if sick else 200, [("Connection", "close")]))
        connection.close()

    def _answer(self, connection: Connection, request: Request) -> None:
        token = token_of(request.target)
        self._attempts[token] += 1
        rng = random.Random(f"{self.seed} {token} {self.name} {self._attempts[token]}")
        behaviour = self._behaviour(rng)
        delivery = self.ledger.deliver(token, self.name, behaviour, request.method)
        if request.target.endswith("/websocket"):
            self._echo(connection, request, delivery)
            return
        body = connection.read_body(request)
        delivery.complete = True
        delivery.fault = difference(token, body, len(body))
        telling = Telling(connection, request, delivery, rng)
        if telling.framing == "close":
            self._unframed.add(connection)
        BEHAVIOURS[behaviour](telling)
        self._unframed.discard(connection)

    def _behaviour(self, rng: random.Random) -> str:
        if self.mode in {WELL, SICK, FLAPPING} or rng.random() > SHARE:
            return WELL
        return rng.choice(list(BEHAVIOURS)) if self.mode == MIXED else self.mode

    def _echo(self, connection: Connection, request: Request, delivery: Delivery) -> None:
        """A tunnel whose bytes come back; a misbehaving one breaks off."""
        telling = Telling(connection, request, delivery, random.Random(delivery.token))
        upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ACCEPT]
        connection.send(answer(101, [*telling.fields(), *upgrade], length=None))
        left = telling.size if delivery.behaviour in SOUND else telling.size // 2
        while left > 0 and (data := connection.receive(min(left, PIECE))):
            connection.send(data)
            left -= len(data)
        if left > 0 or delivery.behaviour not in SOUND:
            connection.reset()
            return
        delivery.whole = True
        while connection.receive(PIECE):
            pass

    def __repr__(self) -> str:
        return f"<StressBackend {self.name} {self.mode if self.running else 'killed'} {self.open} open>"


def target(token: str, size: int, framing: str) -> str:
    """Asks for a body of this size, framed by `length`, `chunked` or `close`; `websocket` asks for a tunnel."""
    return f"{PREFIX}{token}/{size}/{framing}"
