"""3 against 300 backends: choosing one must not cost more when there are many.

nginx beside it shows what the kernel's part of that is: 300 sockets are further from the processor than 50.
"""

from functools import partial

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.stats import paired, quartiles
from scripts.bench.targets import target

FEW, MANY = 3, 300
HOSTS = tuple(f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(MANY))


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=50, seconds=seconds)


class ManyBackendsRow(Row):
    name = "backends_300"
    title = "3 against 300 backends"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children, HOSTS)
        check = answers_with("/", backends.SMALL)
        few, many = Site(backend.addresses[:FEW]), Site(backend.addresses)
        for contestant in bench.named("aegis", "nginx"):
            with (
                bench.started(row, few, check, [contestant]) as first,
                bench.started(row, many, check, [contestant]) as second,
            ):
                if first and second:
                    self.pairs(bench, row, first[0], second[0])
        bench.children.stop(backend.child)

    def pairs(self, bench: Bench, row: RowResult, few: Running, many: Running) -> None:
        name = few.name
        for each in (few, many):
            drive(each, bench.plan.warm_up)
        pairs = paired(partial(bench.measure, few, drive), partial(bench.measure, many, drive), bench.plan.pairs)
        for a, b in pairs:
            row.add(f"{name}, {FEW}", a)
            row.add(f"{name}, {MANY}", b)
        cpu = quartiles([b.cpu_us / a.cpu_us for a, b in pairs])
        measure, ours = "CPU 300 / 3", name == "aegis"
        label = measure if ours else f"{name}: {measure}"
        row.findings.append(Finding(label, cpu.median, target(self.name, measure) if ours else None, cpu))
        if ours:
            rate = quartiles([b.rate / a.rate for a, b in pairs])
            row.findings.append(Finding("rate 300 / 3", rate.median, None, rate))
