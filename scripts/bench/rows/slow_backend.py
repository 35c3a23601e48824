"""One of four backends is ten times slower than the others: what each balancing policy makes of it."""

import json
import sys
from dataclasses import replace

from scripts.bench import load, tools
from scripts.bench.bench import Bench
from scripts.bench.children import LOOPBACK, Child, Children, cores, fetch
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import RowResult
from scripts.bench.rows.base import Row
from tests.support.ports import unused_port

POLICIES = ("weighted_round_robin", "least_connections", "peak_ewma")
FAST, SLOW = "10ms", "100ms"
CONNECTIONS = 16


def start_backends(children: Children) -> tuple[Child, list[int]]:
    """One process; the last port is the slow one's."""
    ports = [unused_port() for _ in range(4)]
    command = [sys.executable, str(tools.ROOT / "scripts" / "fake_backend.py"), "--latency", FAST]
    child = children.start("fake", [*command, "--ports", ",".join(map(str, ports))], core=cores()[1])
    child.wait_until_answers(ports[-1], "/health")
    fetch(ports[-1], f"/_control?latency={SLOW}", method="POST")
    return child, ports


def served(port: int) -> int:
    answer = fetch(port, "/_control")
    return 0 if answer is None else int(json.loads(answer.body)["requests"])


def drive(running: Running, seconds: float) -> Load:
    return load.wrk(running.port, "/", connections=CONNECTIONS, seconds=seconds)


class SlowBackendRow(Row):
    name = "slow_backend"
    title = f"one of four backends answers after {SLOW}, the others after {FAST}"
    needs = ("wrk",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        child, ports = start_backends(bench.children)
        for policy in POLICIES:
            self.of_policy(bench, row, policy, ports)
        bench.children.stop(child)

    def of_policy(self, bench: Bench, row: RowResult, policy: str, ports: list[int]) -> None:
        site = Site(tuple(f"{LOOPBACK}:{port}" for port in ports), {"balancing": {"policy": policy}})
        with bench.started(row, site, lambda _: None, bench.named("aegis")) as running:
            for each in running:
                drive(each, bench.plan.warm_up)
                before = [served(port) for port in ports]
                bench.rounds(row, [replace(each, name=policy)], drive)
                counts = [served(port) - earlier for port, earlier in zip(ports, before, strict=True)]
                row.notes.append(f"{policy}: {counts[-1] / max(1, sum(counts)):.1%} of the requests to the slow one")
