"""The tail of latency at a load that Go carries easily: 70 % of what it did at full speed."""

from scripts.bench import backends, load
from scripts.bench.bench import Bench, answers_with
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.targets import target

SHARE = 0.70
CONNECTIONS = 50


class P99Row(Row):
    name = "p99_at_70"
    title = "p99 at 70 % of Go's rate"
    needs = ("h2load", "go", "wrk")

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        check = answers_with("/", backends.SMALL)
        with bench.started(row, Site(backend.addresses), check, bench.named("aegis", "go")) as running:
            self.at_fixed_rate(bench, row, running)
        bench.children.stop(backend.child)
        ratio = row.ratio("aegis", "go", "p99_ms")
        if ratio is not None:
            row.findings.append(Finding("p99 / Go", ratio, target(self.name, "p99 / Go")))

    def at_fixed_rate(self, bench: Bench, row: RowResult, running: list[Running]) -> None:
        go = next((each for each in running if each.name == "go"), None)
        if go is None:
            row.problems.append("Go's rate is needed to know 70 % of it")
            return
        full = load.wrk(go.port, "/", connections=CONNECTIONS, seconds=bench.plan.seconds)
        rate = full.rate * SHARE
        row.notes.append(f"fixed rate {rate:,.0f}/s, Go at full speed {full.rate:,.0f}/s")

        def drive(each: Running, seconds: float) -> Load:
            log = bench.children.workdir / "h2load.log"
            return load.h2load(each.port, "/", connections=CONNECTIONS, seconds=seconds, rate=rate, log=log)

        bench.rounds(row, running, drive)
