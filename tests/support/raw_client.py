"""An HTTP client over a bare socket: it sends any bytes and reads one response at a time, strictly."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field
from typing import Self

import gevent

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*"
)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")

Fields = list[tuple[str, str]]


class ProtocolError(AssertionError):
    """What came is not HTTP as RFC 9112 wants it."""


class ConnectionEndedError(AssertionError):
    """The connection ended where a response was due. `received`: what had come of it; `how`: eof or reset."""

    def __init__(self, received: bytes, how: str) -> None:
        super().__init__(f"connection ended ({how}) after {received[:2000]!r}")
        self.received, self.how = received, how


class AbortedError(AssertionError):
    """The connection ended within a body. `response` holds what had come of it; `how`: eof or reset."""

    def __init__(self, response: Response, how: str) -> None:
        super().__init__(f"connection ended ({how}) within {response}")
        self.response, self.how = response, how


@dataclass
class Response:
    status: int
    reason: str
    fields: Fields
    body: bytes = b""
    framing: str = "none"  # none, length, chunked, close
    trailers: Fields = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)  # the 1xx before it
    head: bytes = b""  # as it came

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if len(values) != 1:
            raise AssertionError(f"{name} stands {len(values)} times in {self}")
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def tokens(self, name: str) -> set[str]:
        return {token.strip().lower() for value in self.all(name) for token in value.split(",") if token.strip()}

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.fields} {self.framing} {len(self.body)} bytes {self.body[:200]!r}>"


class RawClient:
    """One connection. Every wait ends at `timeout` seconds with TimeoutError."""

    def __init__(
        self, address: tuple[str, int], *, source: str | None = None, timeout: float = 5.0, receive_buffer: int = 0
    ) -> None:
        self.timeout = timeout
        self.buffer = bytearray()
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            self.socket.settimeout(timeout)
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                self.socket.bind((source, 0))
            self.socket.connect(address)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Leave with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    # sending

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_byte_by_byte(self, data: bytes) -> None:
        """Each byte in a segment of its own; ends early when the peer leaves."""
        for index in range(len(data)):
            try:
                self.socket.sendall(data[index : index + 1])
            except (BrokenPipeError, ConnectionResetError):
                return
            # A pause where a parser changes its state; elsewhere only a chance for others to run.
            gevent.sleep(0.0005 if data[index] in b"\r\n: " else 0)

    def request(self, method: str, target: str, fields: Fields | None = None, body: bytes = b"", **keys: str) -> None:
        """Send a well-formed request; Host is `keys["host"]` or example.test, a body gets its length."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {keys.get('host', 'example.test')}"]
        lines += [f"{name}: {value}" for name, value in fields or []]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def get(self, target: str, fields: Fields | None = None, **keys: str) -> Response:
        self.request("GET", target, fields, **keys)
        return self.read_response()

    # reading

    def readable(self) -> bool:
        """There is something to read (bytes or the end)."""
        if self.buffer:
            return True
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        else:
            return True
        finally:
            self.socket.settimeout(self.timeout)

    def receive(self, size: int = 65536) -> bytes:
        """Bytes as they come, b"" at the end; ConnectionResetError stands."""
        if self.buffer:
            data = bytes(self.buffer[:size])
            del self.buffer[:size]
            return data
        return self.socket.recv(size)

    def read_response(self, method: str = "GET") -> Response:
        """The next final response, whole. `method`: of the request it answers."""
        response = self.read_head()
        interim = []
        while response.status < 200:
            interim.append(response)
            response = self.read_head()
        response.interim = interim
        self._read_body(response, method)
        return response

    def read_head(self) -> Response:
        """The next head, of an interim response too; its body is still to come."""
        head = self._until(b"\r\n\r\n", 131072)
        lines = head[:-4].split(b"\r\n")
        match = _STATUS_LINE.fullmatch(lines[0])
        if not match:
            raise ProtocolError(f"status line {lines[0]!r}")
        return Response(int(match[1]), match[2].decode("latin-1"), _parse_fields(lines[1:]), head=head)

    def read_chunk(self) -> bytes:
        """One chunk of a chunked body; b"" is the last one (trailers are not read)."""
        line = self._until(b"\r\n", 4096)
        match = _CHUNK_SIZE.fullmatch(line[:-2])
        if not match:
            raise ProtocolError(f"chunk size {line!r}")
        size = int(match[1], 16)
        if not size:
            return b""
        data = self._exactly(size + 2)
        if data[-2:] != b"\r\n":
            raise ProtocolError(f"chunk of {size} bytes followed by {data[-2:]!r}")
        return data[:-2]

    def read_to_end(self) -> tuple[bytes, str]:
        """All that comes until the connection ends, and how it ended: eof or reset."""
        try:
            while data := self.socket.recv(65536):
                self.buffer += data
        except ConnectionResetError:
            how = "reset"
        else:
            how = "eof"
        data = bytes(self.buffer)
        self.buffer.clear()
        return data, how

    def ends_silently(self, within: float | None = None) -> bool:
        """The peer closes without one more byte, `within` seconds, and not by a reset."""
        self.socket.settimeout(self.timeout if within is None else within)
        try:
            return self.read_to_end() == (b"", "eof")
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(self.timeout)

    def _read_body(self, response: Response, method: str) -> None:
        response.framing = _framing(response, method)
        try:
            if response.framing == "chunked":
                while chunk := self.read_chunk():
                    response.body += chunk
                while line := self._until(b"\r\n", 65536)[:-2]:
                    response.trailers += _parse_fields([line])
            elif response.framing == "length":
                response.body = self._exactly(int(response["Content-Length"]))
            elif response.framing == "close":
                response.body, how = self.read_to_end()
                if how != "eof":
                    raise AbortedError(response, how)
        except ConnectionEndedError as ended:
            if response.framing == "length":
                response.body = ended.received
            raise AbortedError(response, ended.how) from None

    def _until(self, mark: bytes, limit: int) -> bytes:
        while (end := self.buffer.find(mark)) < 0:
            if len(self.buffer) > limit:
                raise ProtocolError(f"no {mark!r} in {limit} bytes: {bytes(self.buffer[:200])!r}")
            self._fill()
        return self._take(end + len(mark))

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._fill()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def _fill(self) -> None:
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            raise ConnectionEndedError(bytes(self.buffer), "reset") from None
        if not data:
            raise ConnectionEndedError(bytes(self.buffer), "eof")
        self.buffer += data

    def __repr__(self) -> str:
        return f"<RawClient {len(self.buffer)} bytes unread>"


def _framing(response: Response, method: str) -> str:
    """How the body of a response to `method` ends (RFC 9112 §6.3): none, length, chunked or close."""
    lengths, codings = response.all("Content-Length"), response.all("Transfer-Encoding")
    if len(lengths) + len(codings) > 1 or ((lengths or codings) and response.status == 204):
        raise ProtocolError(f"framing of {response}")
    if codings not in ([], ["chunked"]) or not all(map(str.isdecimal, lengths)):
        raise ProtocolError(f"framing of {response}")
    if method == "HEAD" or response.status in {204, 304}:
        return "none"
    return "chunked" if codings else "length" if lengths else "close"


def _parse_fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if not match:
            raise ProtocolError(f"field line {line!r}")
        fields.append((match[1].decode(), (match[2] or b"").decode("latin-1")))
    return fields


def wait_bytes(client: RawClient, count: int, within: float = 5.0) -> bytes:
    """At least `count` bytes, as soon as they are there."""
    deadline = time.monotonic() + within
    data = b""
    while len(data) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(data)} of {count} bytes within {within} s")
        piece = client.receive(count - len(data))
        if not piece:
            raise ConnectionEndedError(data, "eof")
        data += piece
    return data
