"""One worker against two: what the others cost a request, how evenly they serve, what memory one more takes.

On two cores, one of which the load has, two workers cannot show twice the rate: the CPU of a request is judged.
"""

import os
from functools import partial
from pathlib import Path

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.stats import paired, quartiles
from scripts.bench.targets import target

SOURCES = 200
ENOUGH = 4  # cores that have to be free for the rates to say something


def drive(running: Running, seconds: float) -> Load:
    return load.from_many(running.port, "/", connections=SOURCES, seconds=seconds, sources=SOURCES)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def private_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


class WorkersRow(Row):
    name = "workers"
    title = "one worker against two, load from 200 addresses"
    needs = ("go",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        check = answers_with("/", backends.SMALL)
        alone, two = (Site(backend.addresses, {"server": {"workers": count}}) for count in (1, 2))
        aegis = bench.named("aegis")
        with bench.started(row, alone, check, aegis) as first, bench.started(row, two, check, aegis) as second:
            if first and second:
                self.pairs(bench, row, first[0], second[0])
        bench.children.stop(backend.child)

    def pairs(self, bench: Bench, row: RowResult, one: Running, two: Running) -> None:
        for each in (one, two):
            drive(each, bench.plan.warm_up)
        before = {pid: cpu_ticks(pid) for pid in two.child.pids()}
        pairs = paired(partial(bench.measure, one, drive), partial(bench.measure, two, drive), bench.plan.pairs)
        for a, b in pairs:
            row.add("aegis, 1", a)
            row.add("aegis, 2", b)
        # Two that serve, beside the supervisor and control, which hardly run.
        busiest = sorted(((cpu_ticks(pid) - ticks, pid) for pid, ticks in before.items()), reverse=True)[:2]
        share = busiest[0][0] / sum(ticks for ticks, _ in busiest)
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        row.findings.append(Finding("CPU two / one", cpu.median, target(self.name, "CPU two / one"), cpu))
        row.findings.append(Finding("busier worker's share", share, target(self.name, "busier worker's share")))
        private = max(private_mb(pid) for _, pid in busiest)
        row.findings.append(Finding("private MB a worker", private, target(self.name, "private MB a worker")))
        if (os.cpu_count() or 1) >= ENOUGH:
            rate = quartiles([b.rate / a.rate for a, b in pairs])
            row.findings.append(Finding("rate two / one", rate.median, None, rate))
