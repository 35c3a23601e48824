"""Fake backends to try a proxy on: each answers with its own name and can be switched to slow, faulty or unhealthy.

GET  /            200 and the backend's name (any other path too)
GET  /health      200, or 503 after POST /_control?health=fail
GET  /sse         server-sent events: one at once, then one each second
GET  /bytes/N     N bytes, streamed
POST /upload      {"bytes": N, "sha256": "…"} of the body
GET  /_control    the switches as JSON; POST /_control?latency=200ms&error_rate=0.5&health=fail sets them
"""

# ruff: noqa: E402  the patch has to come before anything that opens a socket
from gevent import monkey

monkey.patch_all()

import argparse
import hashlib
import json
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

Answer = Iterable[bytes]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

PIECE = 64 * 1024
SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
HEALTH = {"ok", "fail"}


def seconds(text: str) -> float:
    """`200ms`, `1.5s`, `2m` or a bare number of seconds, as seconds; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration (200ms, 1.5s, 2m)")
    return float(match[1]) * SECONDS_PER_UNIT[match[2]]


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return value


def size(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no number of bytes")
    return int(text)


def health(text: str) -> str:
    if text not in HEALTH:
        raise ValueError(f"{text!r} is neither ok nor fail")
    return text


@dataclass(frozen=True, slots=True)
class Switches:
    """What can be changed while the backend runs; the metadata says how its text is read."""

    latency: float = field(default=0.0, metadata={"read": seconds})  # seconds before each answer
    jitter: float = field(default=0.0, metadata={"read": seconds})  # up to so many seconds more, at random
    error_rate: float = field(default=0.0, metadata={"read": share})  # share of answers that are 500
    body_size: int = field(default=0, metadata={"read": size})  # the name is padded to so many bytes
    health: str = field(default="ok", metadata={"read": health})

    def changed(self, query: str) -> "Switches":
        """The same with the switches of a query string set; raises ValueError on unknown names and bad values."""
        readers = {each.name: each.metadata["read"] for each in fields(self)}
        changes = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in readers:
                raise ValueError(f"unknown switch {name!r}; there are {', '.join(readers)}")
            changes[name] = readers[name](text)
        return replace(self, **changes)


class FakeBackend:
    """One WSGI application with a name and its switches."""

    def __init__(self, name: str, switches: Switches) -> None:
        self.name = name
        self.switches = switches
        self.requests = 0

    def __repr__(self) -> str:
        return f"<FakeBackend {self.name} {self.switches}>"

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        path = environ["PATH_INFO"]
        if path == "/_control":
            return self._control(environ, start_response)
        if path == "/health":
            failing = self.switches.health == "fail"
            return _text(start_response, "503 Service Unavailable" if failing else "200 OK", self.switches.health)
        self.requests += 1
        self._delay()
        if random.random() < self.switches.error_rate:
            return _text(start_response, "500 Internal Server Error", "error on demand")
        return self._page(path, environ, start_response)

    def _page(self, path: str, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        if path == "/sse":
            return self._events(start_response)
        if path == "/upload" and environ["REQUEST_METHOD"] == "POST":
            return _upload(environ, start_response)
        if match := re.fullmatch(r"/bytes/(\d+)", path):
            return _bytes(start_response, int(match[1]))
        return _text(start_response, "200 OK", self.name.ljust(self.switches.body_size - 1, "."))

    def _delay(self) -> None:
        wait = self.switches.latency + random.random() * self.switches.jitter
        if wait > 0:
            gevent.sleep(wait)

    def _control(self, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        if environ["REQUEST_METHOD"] == "POST":
            try:
                self.switches = self.switches.changed(environ["QUERY_STRING"])
            except ValueError as error:
                return _json(start_response, "400 Bad Request", {"error": str(error)})
        state = {"name": self.name, "requests": self.requests, **asdict(self.switches)}
        return _json(start_response, "200 OK", state)

    def _events(self, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
        number = 0
        while True:
            yield f"id: {number}\ndata: {self.name} {time.time():.3f}\n\n".encode()
            number += 1
            gevent.sleep(1)


def _text(start_response: StartResponse, status: str, text: str) -> Answer:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _json(start_response: StartResponse, status: str, value: object) -> Answer:
    body = json.dumps(value).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _upload(environ: dict[str, Any], start_response: StartResponse) -> Answer:
    digest, count = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(PIECE):
        digest.update(piece)
        count += len(piece)
    return _json(start_response, "200 OK", {"bytes": count, "sha256": digest.hexdigest()})


def _bytes(start_response: StartResponse, count: int) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(count))])
    piece = bytes(range(256)) * (PIECE // 256)
    for _ in range(count // PIECE):
        yield piece
    yield piece[: count % PIECE]


def without_body_for_head(app: FakeBackend) -> Callable[[dict[str, Any], StartResponse], Answer]:
    """pywsgi sends the body of an answer to HEAD, which no client expects."""

    def wrapped(environ: dict[str, Any], start_response: StartResponse) -> Answer:
        answer = app(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return answer
        next(iter(answer), b"")  # a generator calls start_response only when it is asked for its first piece
        return []

    return wrapped


class Handler(WSGIHandler):
    """Lets go of its client with the answer under way once the server stops, as a server behind a balancer should."""

    def run_application(self) -> None:
        self.close_connection |= self.server.closed
        super().run_application()


def serve(host: str, port: int, app: FakeBackend, *, log_requests: bool) -> WSGIServer:
    log = "default" if log_requests else None
    # With a pool of its own a stop waits for the answers under way; without one they would be reset.
    server = WSGIServer((host, port), without_body_for_head(app), log=log, handler_class=Handler, spawn=Pool())
    server.start()
    # Accepted sockets inherit it. pywsgi sends head and body apart, and Nagle would hold the body back for 40 ms.
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ports", default="8081,8082,8083", help="comma separated; 0 takes a free one")
    parser.add_argument("--names", default="", help="comma separated; backend-PORT otherwise")
    parser.add_argument("--latency", type=seconds, default=0.0, help="before each answer, e.g. 200ms")
    parser.add_argument("--jitter", type=seconds, default=0.0, help="up to so much more, at random")
    parser.add_argument("--error-rate", type=share, default=0.0, help="share of answers that are 500")
    parser.add_argument("--body-size", type=size, default=0, help="pad the answer to so many bytes")
    parser.add_argument("--log", action="store_true", help="log requests to stderr")
    args = parser.parse_args(argv)
    args.ports = [int(each) for each in args.ports.split(",")]
    args.names = [each for each in args.names.split(",") if each]
    if args.names and len(args.names) != len(args.ports):
        parser.error(f"{len(args.names)} names for {len(args.ports)} ports")
    return args


def main() -> int:
    args = arguments()
    switches = Switches(args.latency, args.jitter, args.error_rate, args.body_size)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    servers = []
    for index, port in enumerate(args.ports):
        app = FakeBackend(args.names[index] if args.names else "", switches)
        try:
            server = serve(args.host, port, app, log_requests=args.log)
        except OSError as error:
            print(f"fake_backend: cannot listen on {args.host}:{port}: {error.strerror}", file=sys.stderr)
            return 1
        servers.append(server)
        app.name = app.name or f"backend-{server.server_port}"
        print(f"{app.name} listens on http://{args.host}:{server.server_port}", flush=True)
    stop.wait()
    for server in servers:
        server.stop(timeout=0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
