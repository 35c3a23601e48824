"""1 GB through the proxy, each way: memory has to stay flat and every byte has to arrive."""

import json
import threading
from collections.abc import Callable
from statistics import median
from typing import Self

from scripts.bench import backends, load
from scripts.bench.bench import Bench
from scripts.bench.children import fetch
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.targets import target

SIZE = 1 << 30
SAMPLE_EVERY = 0.02  # seconds


class RssWatch:
    """The highest RSS while it is entered, and how far that is above the start."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.start = self.peak = running.rss_mb()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.done.wait(SAMPLE_EVERY):
            self.peak = max(self.peak, self.running.rss_mb())

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    @property
    def growth(self) -> float:
        return self.peak - self.start


def download(running: Running, checksum: str) -> tuple[dict[str, float], int, str]:
    answer = json.loads(load.one_body(running.port, f"/bytes/{SIZE}", checksum=checksum))
    if answer["errors"]:
        raise load.LoadError(f"download through {running.name}: {answer['errors']}")
    return answer, answer["bytes"], answer["sum"]


def upload(running: Running, checksum: str) -> tuple[dict[str, float], int, str]:
    path = f"/upload?sum={checksum}"
    answer = json.loads(load.one_body(running.port, path, checksum="none", upload=SIZE))
    if answer["errors"]:
        raise load.LoadError(f"upload through {running.name}: {answer['errors']}")
    seen = json.loads(answer["answer"])
    return answer, seen["bytes"], seen["sum"]


Transfer = Callable[[Running, str], tuple[dict[str, float], int, str]]
WAYS: tuple[tuple[str, Transfer], ...] = (("download", download), ("upload", upload))


def answers(running: Running) -> str | None:
    answer = fetch(running.port, "/bytes/100")
    return None if answer is not None and len(answer.body) == 100 else "GET /bytes/100 was not answered"


class MemoryRow(Row):
    name = "memory_1gb"
    title = "1 GB each way"
    needs = ("go",)

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_sink(bench.children)
        site = Site(backend.addresses, {"server": {"max_body_bytes": 2 * SIZE}})
        expected = load.pattern_sum(SIZE, "sha256")
        with bench.started(row, site, answers, bench.named("aegis", "go")) as running:
            for way, transfer in WAYS:
                for each in running:
                    self.growth(row, each, way, transfer, expected)
                self.speed(bench, row, running, way, transfer)
        bench.children.stop(backend.child)

    def growth(self, row: RowResult, running: Running, way: str, transfer: Transfer, expected: str) -> None:
        with RssWatch(running) as watch:
            _, count, checksum = transfer(running, "sha256")
        if (count, checksum) != (SIZE, expected):
            row.problems.append(f"{running.name}: {way} of {count} bytes arrived damaged ({checksum[:12]}…)")
        measure = f"{way} RSS growth MB"
        ours = running.name == "aegis"
        label = measure if ours else f"{running.name}: {measure}"
        row.findings.append(Finding(label, watch.growth, target(self.name, measure) if ours else None))

    def speed(self, bench: Bench, row: RowResult, running: list[Running], way: str, transfer: Transfer) -> None:
        """Timed apart from the sha256 run, in which the checksum would be the bottleneck."""
        figures: dict[str, list[tuple[float, float]]] = {each.name: [] for each in running}
        for _ in range(bench.plan.rounds):
            for each in running:
                before = each.cpu_seconds()
                answer, _, _ = transfer(each, "crc32c")
                figures[each.name].append((SIZE / 1e6 / answer["seconds"], (each.cpu_seconds() - before) * 1000))
        for name, rounds in figures.items():
            row.findings.append(Finding(f"{name}: {way} MB/s", median(rate for rate, _ in rounds)))
            row.findings.append(Finding(f"{name}: {way} CPU ms per GB", median(cpu for _, cpu in rounds)))
