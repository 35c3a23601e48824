"""A backend on a bare socket whose every move is scripted, and which records all that reaches it.

An answer is bytes, sent as they are, or a script: a callable that gets the connection and the request and does as it
likes. After bytes the connection waits for the next request; a script may close it. `before_body` marks scripts that
run as soon as the head is there.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import gevent
from gevent.event import Event
from gevent.pool import Group

from tests.support.poll import eventually
from tests.support.ports import loopback_host
from tests.support.raw_client import TOKEN, RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Answer = bytes | Callable[["Connection", "Request"], None]

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.1")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")

Fields = list[tuple[str, str]]


class PeerLeftError(Exception):
    """The proxy closed the connection within a request."""


class MalformedError(AssertionError):
    """The proxy sent what RFC 9112 forbids."""


@dataclass
class Request:
    """One request as the proxy sent it; `complete` once its body ended as its framing says."""

    method: str
    target: str
    fields: Fields
    head: bytes
    connection: Connection
    body: bytes = b""
    complete: bool = False

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if len(values) != 1:
            raise AssertionError(f"{name} stands {len(values)} times in {self.head!r}")
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def framing(self) -> str:
        return "chunked" if "Transfer-Encoding" in self else "length" if "Content-Length" in self else "none"

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target} {'complete' if self.complete else 'incomplete'}>"


class Connection:
    """One connection from the proxy. `received` has every byte that came, unless `recording` is switched off."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = bytearray()
        self.recording = True
        self.buffer = bytearray()
        self.requests: list[Request] = []
        self.sent = 0  # bytes the kernel took
        self.closed = False
        self.peer_left = Event()  # end or reset seen

    # moves of a script

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                count = self.socket.send(view)
                self.sent += count
                view = view[count:]

    def drip(self, data: bytes, pause: float = 0.001) -> None:
        """Each byte in a segment of its own."""
        for index in range(len(data)):
            self.send(data[index : index + 1])
            gevent.sleep(pause)

    def close(self) -> None:
        self.closed = True
        self.socket.close()

    def reset(self) -> None:
        """End with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def wait_until_peer_leaves(self, within: float = 5.0) -> None:
        """Read and record until the proxy closes; AssertionError when it does not."""
        with gevent.Timeout(within, AssertionError(f"the proxy did not close within {within} s")):
            while self.receive():
                pass

    def receive(self, size: int = 262144) -> bytes:
        """Bytes as they come; b"" when the proxy has left."""
        if self.buffer:
            data = bytes(self.buffer[:size])
            del self.buffer[:size]
            return data
        try:
            data = self.socket.recv(size)
        except ConnectionResetError:
            data = b""
        if not data:
            self.peer_left.set()
        if self.recording:
            self.received += data
        return data

    def read_head(self) -> Request | None:
        """The next request's head; None when the proxy left between requests."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            data = self._more()
            if not data and not self.buffer:
                return None
            if not data:
                raise PeerLeftError
        head = self._take(end + 4)
        lines = head[:-4].split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(lines[0])
        if not match:
            raise MalformedError(f"request line {lines[0]!r}")
        fields = []
        for line in lines[1:]:
            parts = _FIELD.fullmatch(line)
            if not parts:
                raise MalformedError(f"field line {line!r}")
            fields.append((parts[1].decode(), parts[2].decode("latin-1")))
        request = Request(match[1].decode(), match[2].decode(), fields, head, self)
        self.requests.append(request)
        return request

    def read_body(self, request: Request) -> bytes:
        """The whole body by the request's framing, strictly."""
        lengths, codings = request.all("Content-Length"), request.all("Transfer-Encoding")
        if len(lengths) + len(codings) > 1 or (codings and codings != ["chunked"]):
            raise MalformedError(f"framing of {request.head!r}")
        if lengths:
            if not re.fullmatch("0|[1-9][0-9]*", lengths[0]):
                raise MalformedError(f"length of {request.head!r}")
            request.body = self._exactly(int(lengths[0]))
        elif codings:
            while chunk := self.read_chunk():
                request.body += chunk
        request.complete = True
        return request.body

    def read_chunk(self) -> bytes:
        """One chunk; b"" is the last one, taken with the end of the message (trailers are malformed here)."""
        while (end := self.buffer.find(b"\r\n")) < 0:
            if not self._more():
                raise PeerLeftError
        match = _CHUNK_SIZE.fullmatch(self._take(end + 2))
        if not match:
            raise MalformedError("chunk size")
        data = self._exactly(int(match[1], 16) + 2)
        if data[-2:] != b"\r\n":
            raise MalformedError(f"chunk ends with {data[-2:]!r}")
        return data[:-2]

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self._more():
                raise PeerLeftError
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def _more(self) -> bytes:
        kept, self.buffer = self.buffer, bytearray()
        data = self.receive()
        self.buffer = kept + data
        return data

    def __repr__(self) -> str:
        return f"<Connection {len(self.requests)} requests {'closed' if self.closed else 'open'}>"


@dataclass
class ScriptedBackend:
    """Answers each target with what `on` was told for it, the last of several for ever; all else with 200 `hello`."""

    send_buffer: int = 0  # SO_SNDBUF; 0 leaves it to the kernel
    receive_buffer: int = 0
    connections: list[Connection] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)  # complete ones
    probes: list[Request] = field(default_factory=list)  # health probes, kept apart
    faults: list[AssertionError] = field(default_factory=list)  # what the proxy sent and must not send
    _answers: dict[str, list[Answer]] = field(default_factory=dict)
    _greenlets: Group = field(default_factory=Group)

    def __enter__(self) -> Self:
        self._listen((loopback_host(), 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.name = "{}:{}".format(*self.address)
        self.url = f"http://{self.name}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_listening()

    def on(self, target: str, *answers: Answer) -> None:
        """Answer requests for `target` (query cut off), one answer after the other; the last one stays."""
        self._answers[target] = list(answers)

    def asked(self, target: str) -> list[Request]:
        """All requests for `target`, complete or not, in the order of their connections."""
        return [r for c in self.connections for r in c.requests if r.target.partition("?")[0] == target]

    def wait_for(self, target: str, count: int = 1, within: float = 3.0) -> Request:
        """The `count`th request for `target`, once its head is there."""
        found = eventually(
            lambda: self.asked(target)[count - 1 :], f"request {count} for {target} at the backend", within
        )
        return found[0]

    def mark(self) -> Mark:
        """Remember what has come so far."""
        return Mark(self, {id(c): len(c.received) for c in self.connections}, len(self.requests))

    def open_connections(self) -> int:
        return sum(not c.closed for c in self.connections)

    def stop_listening(self) -> None:
        """Refuse connects from now on and end all connections, as a program does that has gone."""
        self._greenlets.kill()
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def listen_again(self) -> None:
        """As a program does that was started again: the address is the same, the record goes on."""
        self._listen(self.address)

    def _listen(self, address: tuple[str, int]) -> None:
        self._listener = socket.socket()
        for option, size in ((socket.SO_SNDBUF, self.send_buffer), (socket.SO_RCVBUF, self.receive_buffer)):
            if size:
                self._listener.setsockopt(socket.SOL_SOCKET, option, size)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address)
        self._listener.listen(128)
        self._greenlets.spawn(self._accept)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            self.connections.append(connection)
            self._greenlets.spawn(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            while not connection.closed and (request := connection.read_head()):
                if not self._is_probe(connection, request):
                    self._answer(connection, request)
        except MalformedError as fault:
            self.faults.append(fault)
        except (OSError, PeerLeftError):
            pass  # the proxy left, or the script closed under our feet
        except AssertionError as fault:
            self.faults.append(fault)
        finally:
            connection.close()

    def _answer(self, connection: Connection, request: Request) -> None:
        answers = self._answers.get(request.target.partition("?")[0], [HELLO])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if not getattr(answer, "before_body", False):
            connection.read_body(request)
            self.requests.append(request)
        if callable(answer):
            answer(connection, request)
        else:
            connection.send(answer)

    def _is_probe(self, connection: Connection, request: Request) -> bool:
        if not "".join(request.all("User-Agent")).startswith("aegis-health/"):
            return False
        self.connections.remove(connection)
        self.probes.append(request)
        connection.send(answer(fields=[("Connection", "close")]))
        connection.close()
        return True

    def __repr__(self) -> str:
        return f"<ScriptedBackend {self.name} {len(self.requests)} requests {self.open_connections()} open>"


@dataclass(frozen=True)
class Mark:
    """A point in the history of a backend."""

    backend: ScriptedBackend
    sizes: dict[int, int]
    requests: int

    def received(self) -> bytes:
        """Every byte that came since, connection by connection."""
        return b"".join(bytes(c.received[self.sizes.get(id(c), 0) :]) for c in self.backend.connections)

    def completed(self) -> list[Request]:
        return self.backend.requests[self.requests :]


# what scripts are made of


def answer(
    status: int = 200, fields: Iterable[tuple[str, str]] = (), body: bytes = b"", *, length: int | None = -1
) -> bytes:
    """A response head and body; `length`: -1 says the true Content-Length, None says none."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields)]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(
    *chunks: bytes, status: int = 200, fields: Iterable[tuple[str, str]] = (), end: bytes = b"0\r\n\r\n"
) -> bytes:
    """A chunked response of these chunks; `end`: its last chunk, b"" to leave it open."""
    head = answer(status, [*fields, ("Transfer-Encoding", "chunked")], length=None)
    return head + b"".join(map(chunk, chunks)) + end


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def then_close(data: bytes) -> Answer:
    """Send these bytes and close."""

    def script(connection: Connection, request: Request) -> None:
        connection.send(data)
        connection.close()

    return script


def then_reset(data: bytes) -> Answer:
    """Send these bytes, let them arrive, and end with a RST."""

    def script(connection: Connection, request: Request) -> None:
        connection.send(data)
        gevent.sleep(0.05)  # a RST overtakes bytes that the other side has not read yet
        connection.reset()

    return script


def hold(event: Event, data: bytes) -> Answer:
    """Answer once the event is set."""

    def script(connection: Connection, request: Request) -> None:
        event.wait(20)
        connection.send(data)

    return script


def held(backend: ScriptedBackend, client: RawClient, path: str = "/held") -> Event:
    """A request of the client that is under way at the backend, which answers it once the event is set."""
    release = Event()
    backend.on(path, hold(release, HELLO))
    client.request("GET", path)
    backend.wait_for(path)
    return release


def before_body(script: Answer) -> Answer:
    """Run this script as soon as the head is there."""
    script.before_body = True
    return script


HELLO = answer(body=b"hello", fields=[("Content-Type", "text/plain")])
