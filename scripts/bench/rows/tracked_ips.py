"""1 against 65,536 tracked clients: finding one's bucket must not cost more when there are many."""

import socket
from functools import partial

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.children import LOOPBACK
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.stats import paired, quartiles
from scripts.bench.targets import target

MANY = 65_536
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=50, seconds=seconds)


def address(number: int) -> str:
    """127.1.0.0 and on: every one of 127/8 is this machine's."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def become_tracked(port: int, count: int) -> None:
    """One answered request from each of so many addresses, over a connection of its own."""
    for number in range(count):
        with socket.socket() as client:
            client.settimeout(10)
            client.bind((address(number), 0))
            client.connect((LOOPBACK, port))
            client.sendall(REQUEST)
            if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                raise load.LoadError(f"the request from {address(number)} was not answered with 200")


class TrackedIpsRow(Row):
    name = "tracked_ips"
    title = "1 against 65,536 tracked clients"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        check = answers_with("/", backends.SMALL)
        # The buckets are full at once at this rate: a purge would forget them.
        site = Site(backend.addresses, {"rate_limit": {"cleanup_interval": "1h", "max_entries": MANY}})
        aegis = bench.named("aegis")
        with bench.started(row, site, check, aegis) as first, bench.started(row, site, check, aegis) as second:
            if first and second:
                self.pairs(bench, row, first[0], second[0])
        bench.children.stop(backend.child)

    def pairs(self, bench: Bench, row: RowResult, one: Running, many: Running) -> None:
        for each in (one, many):
            drive(each, bench.plan.warm_up)
        before = many.rss_mb()
        become_tracked(many.port, MANY - 1)  # the load's own address is one of them
        row.notes.append(f"RSS grew by {(many.rss_mb() - before) * (1 << 20) / MANY:.0f} bytes a tracked client")
        pairs = paired(partial(bench.measure, one, drive), partial(bench.measure, many, drive), bench.plan.pairs)
        for a, b in pairs:
            row.add("aegis, 1", a)
            row.add(f"aegis, {MANY}", b)
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        row.findings.append(Finding("CPU 65,536 / 1", cpu.median, target(self.name, "CPU 65,536 / 1"), cpu))
        rate = quartiles([b.rate / a.rate for a, b in pairs])
        row.findings.append(Finding("rate 65,536 / 1", rate.median, None, rate))
