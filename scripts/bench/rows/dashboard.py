"""What the dashboard costs, and what a terminal or a log pipe costs that nobody reads."""

import os
import pty
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.parse import Load
from scripts.bench.peers.aegis import Aegis
from scripts.bench.peers.base import Launch, Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.stats import paired, quartiles
from scripts.bench.targets import target


class WithStdio(Aegis):
    """Aegis with a stdin and a stdout of its own."""

    def __init__(self, name: str, stdin: int, stdout: int) -> None:
        self.name = name  # type: ignore[misc]
        self.stdin, self.stdout = stdin, stdout

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        launch = super().launch(site, port, workdir)
        command = list(launch.command)
        if os.isatty(self.stdin):
            command.remove("--headless")
        return Launch(command, {**launch.environment, "TERM": "xterm-256color"}, self.stdin, self.stdout)


@contextmanager
def terminal(*, read: bool) -> Iterator[int]:
    """A pseudo-terminal; somebody reads it all the time, or nobody does."""
    master, slave = pty.openpty()
    over = threading.Event()

    def drain() -> None:
        while not over.is_set():
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 65536)

    reader = threading.Thread(target=drain, daemon=True)
    if read:
        reader.start()
    try:
        yield slave
    finally:
        over.set()
        if read:
            reader.join()
        os.close(slave)
        os.close(master)


@contextmanager
def stuck_pipe() -> Iterator[int]:
    source, sink = os.pipe()
    try:
        yield sink
    finally:
        os.close(source)
        os.close(sink)


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=50, seconds=seconds)


class DashboardRow(Row):
    name = "dashboard"
    title = "with and without the dashboard; a stalled terminal, a stuck log pipe"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        every_second, often, no_file = (
            Site(backend.addresses, {"tui": {"refresh_interval": "1s"}}),
            Site(backend.addresses, {"tui": {"refresh_interval": "20ms"}}),
            Site(backend.addresses, {"logging": {"file": ""}}),
        )
        with terminal(read=True) as watched, terminal(read=False) as stalled, stuck_pipe() as sink:
            self.against(bench, row, "CPU with / without", every_second, WithStdio("dashboard", watched, watched))
            self.against(
                bench, row, "CPU, terminal stalled / without", often, WithStdio("stalled terminal", stalled, stalled)
            )
            devnull = os.open(os.devnull, os.O_RDONLY)
            self.against(bench, row, "CPU, log pipe stuck / without", no_file, WithStdio("stuck pipe", devnull, sink))
            os.close(devnull)
        bench.children.stop(backend.child)

    def against(self, bench: Bench, row: RowResult, measure: str, site: Site, contestant: WithStdio) -> None:
        """Paired rounds of the plain, headless Aegis and this one."""
        check = answers_with("/", backends.SMALL)
        plain = Site(site.backends)
        with (
            bench.started(row, plain, check, bench.named("aegis")) as first,
            bench.started(row, site, check, [contestant]) as second,
        ):
            if not (first and second):
                return
            for each in (first[0], second[0]):
                drive(each, bench.plan.warm_up)
            pairs = paired(
                partial(bench.measure, first[0], drive), partial(bench.measure, second[0], drive), bench.plan.pairs
            )
        for a, b in pairs:
            row.add("headless", a)
            row.add(contestant.name, b)
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        row.findings.append(Finding(measure, cpu.median, target(self.name, measure), cpu))
        rate = quartiles([b.rate / a.rate for a, b in pairs])
        row.findings.append(Finding(measure.replace("CPU", "rate"), rate.median, None, rate))
