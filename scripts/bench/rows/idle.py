"""Thousands of connections that do nothing: what one costs, and what they cost the others."""

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.children import LOOPBACK
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult, Sample
from scripts.bench.rows.base import Row
from scripts.bench.stats import quartiles
from scripts.bench.targets import target

WANTED = 10_000
RESERVE = 200  # of the cap is left to the load
PER_CONNECTION = 2  # descriptors Aegis reckons for a client, and 256 for itself
OWN_DESCRIPTORS = 256
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def how_many() -> int:
    """10,000, or as many as Aegis's cap admits under this machine's descriptor limit, less 200."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(WANTED, (hard - OWN_DESCRIPTORS) // PER_CONNECTION - RESERVE, hard - OWN_DESCRIPTORS)


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """Each is used once: a connection that never sent a request falls under another, shorter timeout."""
    raise_descriptor_limit()
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(socket.create_connection((LOOPBACK, port), timeout=10))
            held[-1].sendall(REQUEST)
            if not held[-1].recv(4096).startswith(b"HTTP/1.1 200"):
                raise load.LoadError(f"idle connection {len(held)} was not answered with 200")
        yield
    finally:
        for each in held:
            each.close()


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=50, seconds=seconds)


class IdleRow(Row):
    name = "idle"
    title = "10,000 idle connections"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        limit = {"idle_timeout": "1h", "max_connections": WANTED + RESERVE}
        site = Site(backend.addresses, {"server": limit})
        with bench.started(row, site, answers_with("/", backends.SMALL), bench.named("aegis")) as running:
            for each in running:
                self.pairs(bench, row, each, how_many())
        bench.children.stop(backend.child)

    def pairs(self, bench: Bench, row: RowResult, aegis: Running, count: int) -> None:
        """A B B A A B …, one process for both, connecting anew before each stretch of B."""
        drive(aegis, bench.plan.warm_up)
        before = aegis.rss_mb()
        without: list[Sample] = []
        with_idle: list[Sample] = []
        per_connection = None
        while min(len(without), len(with_idle)) < bench.plan.pairs:
            stretch = 1 if not without else 2
            without += [bench.measure(aegis, drive) for _ in range(stretch)]
            with idle_connections(aegis.port, count):
                if per_connection is None:
                    per_connection = (aegis.rss_mb() - before) * 1024 / count
                with_idle += [bench.measure(aegis, drive) for _ in range(2)]
        self.conclude(row, list(zip(without, with_idle, strict=False)), count, per_connection)

    def conclude(
        self, row: RowResult, pairs: list[tuple[Sample, Sample]], count: int, per_connection: float | None
    ) -> None:
        for a, b in pairs:
            row.add("aegis", a)
            row.add(f"aegis + {count} idle", b)
        row.notes.append(f"{count} idle connections, {len(pairs)} paired rounds")
        row.findings.append(Finding("KB per connection", per_connection, target(self.name, "KB per connection")))
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        row.findings.append(Finding("CPU with / without", cpu.median, target(self.name, "CPU with / without"), cpu))
        rate = quartiles([b.rate / a.rate for a, b in pairs])
        row.findings.append(Finding("rate with / without", rate.median, None, rate))
