"""Rounds of traffic and disturbances against one running Aegis; after each, everything is counted and compared.

A seed gives the plan of every round, the moves of every client and the moods of every backend. Times are real, so what
meets what differs from run to run: a failure may need its seed more than once.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import gevent

from tests.stress.backends import StressBackend
from tests.stress.checker import Held, growth, left_behind, violations
from tests.stress.clients import Visitor, kinds
from tests.stress.disturbances import Stage, act, plan
from tests.stress.ledger import Ledger
from tests.support.aegis_process import AegisProcess, _family, _resident, config_for
from tests.support.poll import eventually
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 24
BACKENDS = 4  # the last one is added by a reload
ROUND = 6.0  # seconds of traffic
RECOVERY = 20.0  # seconds until every backend is admitted, and as many until all is given back
SHUTDOWN = 10.0
SOURCES = [f"127.0.0.{number}" for number in range(2, 14)]
SETTINGS: dict[str, dict[str, Any]] = {
    "server": {
        "read_timeout": "1s",
        "write_timeout": "1s",
        "idle_timeout": "3s",
        "shutdown_timeout": f"{SHUTDOWN:.0f}s",
        "max_connections": 1000,
    },
    "transport": {
        "connect_timeout": "1s",
        "response_header_timeout": "1s",
        "read_timeout": "1s",
        "stream_idle_timeout": "2s",
        "idle_conn_timeout": "1s",
    },
    "retry": {"budget_percent": 20, "min": 3},
    "health_check": {"interval": "300ms", "timeout": "300ms", "unhealthy_threshold": 2, "healthy_threshold": 2},
    "rate_limit": {"requests_per_second": 1_000_000, "burst": 1_000_000, "cleanup_interval": "500ms"},
    "adaptive": {"enabled": True, "evaluation_interval": "300ms", "max_rate": 1_000_000, "min_rate": 10},
    "circuit_breaker": {"failure_threshold": 5, "open_timeout": "500ms"},
}
STILL = 2.0
"""Seconds without a turn from which on what timed out says nothing of Aegis."""

EXPECTED_ERRORS = ("ended with -9", "reload refused")


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    workers: int
    seconds: float = 0.0
    rounds: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)  # before the first round, then after each
    stood_still: float = 0.0  # seconds at most in which this process had no turn

    def add(self, ledger: Ledger) -> None:
        self.kinds += ledger.by_kind()
        self.outcomes += ledger.by_outcome()
        self.statuses += Counter(asked.status for asked in ledger.asked.values() if asked.status)

    def __str__(self) -> str:
        def told(counts: Counter[Any]) -> str:
            return ", ".join(f"{name} {count}" for name, count in counts.most_common())

        return (
            f"stress: seed {self.seed}, {self.workers} worker(s), {self.seconds:.0f} s, {self.rounds} rounds: "
            f"{self.kinds.total()} requests ({told(self.kinds)}) → {told(self.outcomes)} "
            f"[{told(self.statuses)}]; {told(self.done)}; "
            f"{self.held[0]} at first, {self.held[-1]} at last; {len(self.violations)} violations{self._excuse()}"
        )

    def _excuse(self) -> str:
        """A machine that was suspended, or busy with others, lets every timeout pass: no finding of ours."""
        return f"; all stood still for {self.stood_still:.0f} s" if self.stood_still > STILL else ""


class Run:
    """`Run(seed, seconds, workers).go()`: one Aegis from its start to its stop. say: takes each round's plan."""

    def __init__(self, seed: int, seconds: float, workers: int, say: Callable[[str], None] = print) -> None:
        self.seed, self.seconds, self.workers, self.say = seed, seconds, workers, say
        self.report = Report(seed, workers)
        self.ledger = Ledger("none")

    def go(self) -> Report:
        began = monotonic()
        self.backends = [StressBackend(f"b{number}", f"{self.seed}") for number in range(BACKENDS)]
        for backend in self.backends:
            backend.start()
        try:
            with AegisProcess(self._config()) as self.aegis:
                try:
                    self._play(began)
                finally:
                    self._end_all()
        finally:
            for backend in self.backends:
                backend.kill()
        self.report.seconds = monotonic() - began
        return self.report

    def _end_all(self) -> None:
        """Whatever still runs: a worker that is stuck outlives its parent."""
        for pid in _family(self.aegis.process.pid) if self.aegis.running else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _config(self) -> dict[str, Any]:
        used = [{"url": each.url, "weight": 1, "name": each.name} for each in self.backends[:-1]]
        sections = {**SETTINGS, "server": {**SETTINGS["server"], "workers": self.workers}}
        listen = "{}:{}".format(*free_port())
        return config_for(used, admin={"listen": listen, "allow_remote": True}, **sections)

    def _play(self, began: float) -> None:
        self.stage = Stage(self.aegis, dict(self.aegis.config), self.backends)
        self._begin("start")
        reader = gevent.spawn(self._read_log)
        try:
            eventually(lambda: self.stage.starts, "the start line", 20)
            self.report.held.append(self._settle())
            while not self.report.violations and (not self.report.rounds or monotonic() - began < self.seconds):
                self._round()
            if not self.report.violations:
                self._stop()
        finally:
            reader.kill()
        self.report.done = self.stage.done
        first, *rest = self.report.held
        self.report.violations += growth([held.resident for held in rest], first.processes)

    # one round

    def _begin(self, name: str) -> None:
        self.ledger = Ledger(name)
        self.stage.begin(self.ledger)

    def _round(self) -> None:
        self.report.rounds += 1
        number = self.report.rounds
        rng = random.Random(f"{self.seed} {number}")
        steps = plan(rng, ROUND, BACKENDS, self.workers)
        self.say(f"seed {self.seed}, {self.workers} worker(s), round {number}: {'; '.join(map(str, steps))}")
        self._begin(f"r{number}")
        clients = self._spawn_clients()
        self._tell(act, self.stage, steps, monotonic())
        self._asking = False
        self._join(clients)
        self._tell(self.stage.calm)
        self.report.held.append(self._settle())
        self._judge()

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except AssertionError as undone:
            self.ledger.faults.append(f"Aegis did not do as it was told: {undone}")

    def _spawn_clients(self) -> list[gevent.Greenlet]:
        self._asking = True
        return [gevent.spawn(self._ask_on, number) for number in range(CLIENTS)]

    def _ask_on(self, number: int) -> None:
        rng = random.Random(f"{self.seed} {self.ledger.name} {number}")
        visitor = Visitor(self.aegis.address, SOURCES[number % len(SOURCES)], rng, self.ledger)
        for kind in kinds(rng):
            if not self._asking:
                return
            try:
                visitor.visit(kind)
            except OSError as error:
                if monotonic() < self.ledger.stopped_at:
                    self.ledger.faults.append(f"a connection was refused: {error!r}")
                return
            gevent.sleep(rng.random() / 50)

    def _join(self, clients: list[gevent.Greenlet]) -> None:
        gevent.joinall(clients, timeout=60)
        for client in clients:
            if not client.dead:
                self.ledger.faults.append("a client is still at a request after 60 s")
                client.kill()

    def _judge(self) -> None:
        self._take_log()
        self.report.add(self.ledger)
        self.report.violations += violations(self.ledger)

    # what is given back

    def _settle(self) -> Held:
        """Wait until nothing is held. Ask gently while a backend is not admitted: nothing else closes its breaker."""
        visitor = Visitor(self.aegis.address, SOURCES[0], random.Random(0), self.ledger)
        sources = iter(SOURCES * 1000)
        asked_at, until = time(), monotonic() + 2 * RECOVERY
        held = self._held()
        while (left := self._left(held, asked_at)) and monotonic() < until:
            if held.not_admitted:
                visitor.source = next(sources)
                visitor.visit("small")
                asked_at = time()
            else:
                gevent.sleep(0.1)
            held = self._held()
        self.report.violations += left
        return held

    def _left(self, held: Held, asked_at: float) -> list[str]:
        before = self.report.held[0] if self.report.held else held
        old = ["the snapshot is older than the last request"] if held.at <= asked_at else []
        return left_behind(before, held) + old

    def _held(self) -> Held:
        snapshot = self.stage.admin.snapshot()
        family = _family(self.aegis.process.pid)
        return Held(
            at=snapshot.time,
            in_flight=snapshot.in_flight,
            client_connections=snapshot.connections.open,
            on_backends={each.name: each.in_flight for each in snapshot.backends},
            pooled={each.name: each.connections for each in snapshot.backends},
            at_backends={each.name: each.open for each in self.backends},
            not_admitted={
                each.name: f"{each.health}, breaker {each.breaker}, drained {each.drained}, share {each.share}"
                for each in snapshot.backends
                if not each.eligible or each.breaker != "closed" or each.share < 1
            },
            logs_dropped=snapshot.logs_dropped,
            processes=len(family),
            greenlets=self.stage.greenlets(),
            descriptors=sum(_descriptors(pid) for pid in family),
            resident=sum(map(_resident, family)),
        )

    # the log

    def _read_log(self) -> None:
        while True:
            self._take_log()
            before = monotonic()
            gevent.sleep(0.05)
            self.report.stood_still = max(self.report.stood_still, monotonic() - before)

    def _take_log(self) -> None:
        """Nothing is kept of it: a long run logs a million lines."""
        taken = list(self.aegis.log)
        self.aegis.log.clear()
        self.aegis.lines.clear()
        for line in taken:
            if "request_id" in line and "reason" in line:
                self.ledger.lines.append(line)
            else:
                self._hear(line)

    def _hear(self, line: dict[str, Any]) -> None:
        self.stage.hear(line)
        words = str(line.get("message"))
        if line["level"] == "ERROR" and not any(each in words for each in EXPECTED_ERRORS):
            self.ledger.faults.append(f"an ERROR in the log of Aegis: {line}")

    # the end

    def _stop(self) -> None:
        """A stop while everybody asks: what was accepted is answered, and the exit code is 0."""
        self._begin("stop")
        clients = self._spawn_clients()
        gevent.sleep(1)
        self.ledger.stopped_at = monotonic()
        self.aegis.signal(signal.SIGTERM)
        code = self.aegis.wait(SHUTDOWN + 10)
        self._asking = False
        self._join(clients)
        self._judge()
        if code:
            self.report.violations.append(f"SIGTERM under load ended with {code}, not with 0")
        if self.aegis.errors:
            self.report.violations.append(f"on stderr: {self.aegis.errors}")


def _descriptors(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except FileNotFoundError:
        return 0
