"""2,000 connections that hold their place with a byte now and then, or never read: what they cost the others."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.children import LOOPBACK
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult, Sample
from scripts.bench.rows.base import Row
from scripts.bench.rows.idle import raise_descriptor_limit
from scripts.bench.stats import quartiles
from scripts.bench.targets import target


class Kinds(NamedTuple):
    """How many of each."""

    heads: int
    bodies: int
    readers: int


KINDS = Kinds(667, 667, 666)
COUNT = sum(KINDS)
EVERY = 4.0  # seconds between two bytes of one connection: what the default read_timeout of 5 s makes it send
SETTLE = 2.0  # seconds in which the kernel takes what it will of the answers that nobody reads
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
BODY = b"POST /body HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
LARGE = b"GET /1mb HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""Not larger: the backend is on the same machine, whose memory for TCP would run out and slow down everybody."""

HELD = {"read_timeout": "1h", "write_timeout": "1h", "idle_timeout": "1h"}
"""So long that nobody is closed: what is measured is the worst that the timeouts allow."""


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=50, seconds=seconds)


def connect(port: int, first: bytes, receive_buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    sock.connect((LOOPBACK, port))
    sock.sendall(first)
    return sock


@contextmanager
def stalled_connections(port: int, kinds: Kinds) -> Iterator[None]:
    """Heads that drip, bodies that drip, readers that do not read."""
    raise_descriptor_limit()
    heads: list[socket.socket] = []
    bodies: list[socket.socket] = []
    readers: list[socket.socket] = []
    done = threading.Event()
    dripping = threading.Thread(target=drip, args=(heads, bodies, done))
    try:
        heads.extend(connect(port, HEAD) for _ in range(kinds.heads))
        bodies.extend(connect(port, BODY + b"a") for _ in range(kinds.bodies))
        readers.extend(connect(port, LARGE, receive_buffer=4096) for _ in range(kinds.readers))
        dripping.start()
        yield
        alive(heads + bodies)
    finally:
        done.set()
        if dripping.ident is not None:
            dripping.join()
        for each in (*heads, *bodies, *readers):
            each.close()


def drip(heads: list[socket.socket], bodies: list[socket.socket], done: threading.Event) -> None:
    """One byte each, spread evenly over time."""
    everyone = heads + bodies
    while not done.wait(0 if everyone else EVERY):
        for each in everyone:
            if done.wait(EVERY / len(everyone)):
                return
            try:
                each.send(b"a")
            except OSError:
                continue  # `alive` tells


def alive(stalled: list[socket.socket]) -> None:
    """A connection that was answered or closed did not stall, and the figure would be of something else."""
    poll = select.poll()
    for each in stalled:
        poll.register(each, select.POLLIN)
    if gone := len(poll.poll(0)):
        raise load.LoadError(f"{gone} of {len(stalled)} stalled connections were answered or closed meanwhile")


class StalledRow(Row):
    name = "stalled"
    title = "2,000 stalled connections: dripping heads, dripping bodies, readers that do not read"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        site = Site(backend.addresses, {"server": {**HELD, "max_connections": COUNT + 1000}})
        with bench.started(row, site, answers_with("/", backends.SMALL), bench.named("aegis")) as running:
            for each in running:
                self.pairs(bench, row, each)
        bench.children.stop(backend.child)

    def pairs(self, bench: Bench, row: RowResult, aegis: Running) -> None:
        """A B B A A B …, one process for both, connecting anew before each stretch of B."""
        drive(aegis, bench.plan.warm_up)
        without: list[Sample] = []
        beside: list[Sample] = []
        while min(len(without), len(beside)) < bench.plan.pairs:
            without += [bench.measure(aegis, drive) for _ in range(1 if not without else 2)]
            with stalled_connections(aegis.port, KINDS):
                time.sleep(SETTLE)
                beside += [bench.measure(aegis, drive) for _ in range(2)]
        pairs = list(zip(without, beside, strict=False))
        for a, b in pairs:
            row.add("aegis", a)
            row.add(f"aegis + {COUNT} stalled", b)
        row.notes.append(
            f"{COUNT} stalled connections, a byte every {EVERY:.0f} s of those that drip, {len(pairs)} paired rounds"
        )
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        row.findings.append(Finding("CPU with / without", cpu.median, target(self.name, "CPU with / without"), cpu))
        rate = quartiles([b.rate / a.rate for a, b in pairs])
        row.findings.append(Finding("rate with / without", rate.median, None, rate))
