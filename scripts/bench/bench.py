"""What every row needs: the contestants, how long to measure, where to keep things; and measuring itself."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.bench.children import Children, StartError, busy_seconds, cores, fetch
from scripts.bench.parse import Load
from scripts.bench.peers.base import Contestant, Running, Site
from scripts.bench.result import RowResult, Sample
from scripts.bench.stats import rotated
from scripts.bench.tools import BuildError

Drive = Callable[[Running, float], Load]  # the load of a row, against a contestant, for so many seconds
Check = Callable[[Running], str | None]  # what is wrong with the contestant's answer


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    seconds: float  # of one measurement
    warm_up: float  # seconds before the first one, discarded
    pairs: int = 7  # paired rounds where a bound is under 10 %


class Bench:
    """One run of the benchmark."""

    def __init__(self, contestants: Sequence[Contestant], plan: Plan, children: Children) -> None:
        self.contestants = contestants
        self.plan = plan
        self.children = children

    def named(self, *names: str) -> list[Contestant]:
        return [each for each in self.contestants if each.name in names]

    @contextmanager
    def started(
        self, row: RowResult, site: Site, check: Check, contestants: Sequence[Contestant]
    ) -> Iterator[list[Running]]:
        """Those of the contestants that came up and answered as they should; the others are problems of the row."""
        running: list[Running] = []
        try:
            for contestant in contestants:
                try:
                    running.append(contestant.start(self.children, site))
                except (StartError, BuildError) as error:
                    row.problems.append(f"{contestant.name} did not start: {error}")
                    continue
                if (wrong := check(running[-1])) is not None:
                    row.problems.append(f"{contestant.name}: {wrong}")
                    self.stop(running.pop())
            yield running
        finally:
            for each in running:
                self.stop(each)

    def stop(self, running: Running) -> None:
        self.children.stop(running.child)
        shutil.rmtree(running.workdir)  # an access log of a million lines, before the next one comes

    def measure(self, running: Running, drive: Drive) -> Sample:
        core = cores()[0]
        began, busy, before = time.monotonic(), busy_seconds(core), running.cpu_seconds()
        load = drive(running, self.plan.seconds)
        used = running.cpu_seconds() - before
        foreign = max(0.0, busy_seconds(core) - busy - used) / (time.monotonic() - began)
        per_request = used / load.requests * 1e6 if load.requests else float("inf")
        return Sample(load.rate, load.p50_ms, load.p99_ms, per_request, running.rss_mb(), foreign, load.errors)

    def rounds(self, row: RowResult, running: Sequence[Running], drive: Drive) -> None:
        for each in running:
            drive(each, self.plan.warm_up)
        for number in range(self.plan.rounds):
            for each in rotated(running, number):
                row.add(each.name, self.measure(each, drive))
                time.sleep(0.2)  # so that the last one's closing connections are not in the next one's figures


def answers_with(path: str, body: bytes) -> Check:
    """Does it answer with the backend's body? Otherwise the row would measure an error page."""

    def check(running: Running) -> str | None:
        answer = fetch(running.port, path)
        if answer is None:
            return f"no answer to GET {path}"
        if answer.status != 200:
            return f"GET {path} answered {answer.status}"
        return None if answer.body == body else f"GET {path} answered {len(answer.body)} bytes of something else"

    return check
