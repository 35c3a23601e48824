"""What a row is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from scripts.bench.bench import Bench
from scripts.bench.result import Finding, RowResult
from scripts.bench.targets import RATE_GO, RATE_NGINX, targets_of


class Row(ABC):
    """One line of the table of rows: a name to choose it by, what it needs, and how it is measured."""

    name: str
    title: str
    needs: ClassVar[tuple[str, ...]] = ()  # programs without which it cannot run

    def run(self, bench: Bench) -> RowResult:
        row = RowResult(self.name, self.title)
        self.measure(bench, row)
        return row

    @abstractmethod
    def measure(self, bench: Bench, row: RowResult) -> None:
        """Fill the row."""


def judge_rates(row: RowResult) -> None:
    """Aegis's rate beside its peers', against the row's targets."""
    if "aegis" not in row.samples:
        return
    peers = {RATE_GO: "go", RATE_NGINX: "nginx"}
    for target in targets_of(row.name):
        if (peer := peers.get(target.measure)) is not None:
            row.findings.append(Finding(target.measure, row.ratio("aegis", peer, "rate"), target))
