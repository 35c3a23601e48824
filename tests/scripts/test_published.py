"""What the pages show of the benchmark: rows measured again replace their like, and nothing is made nicer."""

from __future__ import annotations

import pytest

from scripts.bench import published
from scripts.bench.result import Finding, RowResult, Sample
from scripts.bench.stats import Quartiles
from scripts.bench.targets import target
from scripts.documents import performance

MACHINE = {
    "date": "2026-01-02T03:04:05+00:00", "cpu": "Abacus", "cores": 2, "kernel": "6.1", "python": "3.11.2",
    "commit": "abc1234", "versions": {"nginx": "1.22"},
}  # fmt: skip


def row(name, rate, finding=None, foreign=0.0):
    made = RowResult(name, f"about {name}", findings=[finding] if finding else [])
    made.add("aegis", Sample(rate, 1.0, 2.0, 1e6 / rate, 40.0, foreign))
    return made


@pytest.fixture
def shown(monkeypatch):
    def show(*rows):
        figures = published.merged({}, rows, MACHINE)
        monkeypatch.setattr(published, "read", lambda: figures)
        return figures

    return show


def test_a_row_measured_again_replaces_the_old_one_and_says_its_commit():
    before = published.merged({}, [row("repeated", 100), row("1kb", 90)], MACHINE)
    after = published.merged(before, [row("1kb", 95)], {**MACHINE, "commit": "def5678"})
    assert after["rows"]["repeated"]["commit"] == "abc1234"
    assert after["rows"]["1kb"]["commit"] == "def5678"
    assert after["rows"]["1kb"]["medians"]["aegis"]["rate"] == 95


def test_figures_of_two_machines_are_never_side_by_side():
    before = published.merged({}, [row("repeated", 100)], MACHINE)
    after = published.merged(before, [row("1kb", 95)], {**MACHINE, "cpu": "Slide rule"})
    assert list(after["rows"]) == ["1kb"]


def test_rates_and_processor_time_stand_side_by_side_and_a_disturbed_row_says_so(shown):
    shown(row("repeated", 40_000), row("10mb", 200, foreign=0.3))
    _, _, small, large = performance.rates().splitlines()
    assert small == "| about repeated | 40,000 · 25 µs |"
    assert large == "| about 10mb (others took up to 30% of the core) | 200 · 5.0 ms |"


def test_what_is_missed_comes_first_and_is_named_beside_the_table(shown):
    well = Finding("rate x Go", 2.0, target("repeated", "rate x Go"))
    missed = Finding("CPU 300 / 3", 1.2, target("backends_300", "CPU 300 / 3"), Quartiles(1.1, 1.2, 1.3))
    shown(row("repeated", 40_000, well), row("backends_300", 100, missed))
    _, _, first, second = performance.verdicts().splitlines()
    assert first == "| `backends_300` | CPU 300 / 3 | 1.200 (1.100–1.300) | ≤ 1.05 | ≤ 1.05 | MISSED |"
    assert second.endswith("| ≥ 1.5 | ≥ 1.3 | goal met |")
    assert performance.below() == ("Below what we aim at: `backends_300` CPU 300 / 3 1.200 (1.100–1.300) (goal 1.05).")
