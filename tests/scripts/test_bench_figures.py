"""Ratios, quartiles, verdicts and tables of the benchmark."""

import json

import pytest

from scripts.bench import report
from scripts.bench.peers.aegis import configuration
from scripts.bench.peers.base import Site
from scripts.bench.result import Finding, RowResult, Sample
from scripts.bench.rows.table import ROWS, SHORT_ROWS
from scripts.bench.stats import Quartiles, paired, quartiles, ratio_of_rounds, rotated
from scripts.bench.targets import TARGETS, Target, Verdict, at_most

MACHINE = {
    "date": "today",
    "cpu": "c",
    "cores": 2,
    "kernel": "k",
    "load_average": 0.0,
    "python": "3",
    "commit": "x",
    "versions": {},
}


def sample(rate, cpu_us=20.0, errors=()):
    return Sample(rate=rate, p50_ms=1, p99_ms=2, cpu_us=cpu_us, rss_mb=30, errors=errors)


def row_of(**rates):
    row = RowResult("repeated", "a row")
    for name, values in rates.items():
        for value in values:
            row.add(name, sample(value))
    return row


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5], (5, 5, 5)), ([1, 2, 3, 4, 5], (2, 3, 4)), ([4, 1, 3, 2], (1.75, 2.5, 3.25))],
)
def test_quartiles_interpolate(values, expected):
    result = quartiles(values)
    assert (result.lower, result.median, result.upper) == expected


def test_quartiles_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        quartiles([])


def test_ratio_is_taken_within_each_round_so_that_drift_cancels_out():
    assert ratio_of_rounds([100, 50, 10], [50, 25, 5]) == 2
    assert ratio_of_rounds([1], []) is None


def test_rounds_rotate_who_begins():
    assert [rotated("abc", by)[0] for by in range(4)] == ["a", "b", "c", "a"]


def test_pairs_are_measured_a_b_b_a():
    order = []
    pairs = paired(lambda: order.append("a") or "a", lambda: order.append("b") or "b", 3)
    assert "".join(order) == "abbaab"
    assert pairs == [("a", "b")] * 3


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.6, Verdict.GOAL), (1.5, Verdict.GOAL), (1.4, Verdict.FLOOR), (1.2, Verdict.MISSED), (None, Verdict.NONE)],
)
def test_verdict_where_more_is_better(value, verdict):
    assert Target("r", "m", goal=1.5, floor=1.3).judge(value) is verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.9, Verdict.GOAL), (1.2, Verdict.FLOOR), (1.3, Verdict.MISSED)])
def test_verdict_where_less_is_better(value, verdict):
    assert Target("r", "m", goal=1.0, floor=1.25, higher=False).judge(value) is verdict


@pytest.mark.parametrize(
    ("lower", "median", "verdict"), [(0.9, 1.04, Verdict.GOAL), (1.04, 1.2, Verdict.FLOOR), (1.06, 1.2, Verdict.MISSED)]
)
def test_paired_bound_is_missed_only_if_the_lower_quartile_is_beyond_it(lower, median, verdict):
    assert at_most("r", "m", 1.05).judge_pairs(Quartiles(lower, median, 2.0)) is verdict


def test_every_target_belongs_to_a_row_and_every_short_row_has_one():
    rows = {row.name for row in ROWS}
    judged = {target.row for target in TARGETS}
    assert judged <= rows
    assert set(SHORT_ROWS) <= judged


def test_no_floor_is_harder_than_its_goal():
    assert all(target.judge(target.goal) is Verdict.GOAL for target in TARGETS)
    assert all(target.judge(target.floor) in {Verdict.GOAL, Verdict.FLOOR} for target in TARGETS)


def test_errors_make_a_row_invalid():
    row = row_of(aegis=[100.0])
    assert row.valid
    row.add("aegis", sample(100, errors=("3 read errors",)))
    assert not row.valid
    assert "INVALID: aegis: 3 read errors" in report.section(row)


@pytest.mark.parametrize(("foreign", "told"), [(0.01, False), (0.3, True)])
def test_report_tells_when_others_used_the_core(foreign, told):
    row = RowResult("repeated", "a row")
    row.add("aegis", Sample(rate=1, p50_ms=1, p99_ms=2, cpu_us=3, rss_mb=4, foreign=foreign))
    assert ("disturbed" in report.section(row)) is told


def test_report_shows_ratios_goal_floor_and_verdict():
    row = row_of(aegis=[30_000.0, 32_000.0], go=[20_000.0, 20_000.0])
    row.findings.append(Finding("rate x Go", row.ratio("aegis", "go", "rate"), TARGETS[0]))
    text = report.text([row], MACHINE, ["caddy: caddy not found"])
    assert "1.55" in text
    assert ">= 1.5" in text
    assert "goal met" in text
    assert "- caddy: caddy not found" in text


def test_a_verdict_of_an_invalid_row_is_no_verdict():
    row = row_of(aegis=[30_000.0])
    row.problems.append("aegis: 1 read errors")
    row.findings.append(Finding("rate x Go", 1.6, TARGETS[0]))
    assert "goal met" not in report.verdicts([row])
    assert "INVALID" in report.verdicts([row])


def test_json_carries_medians_ratios_and_verdicts():
    row = row_of(aegis=[30_000.0], go=[20_000.0])
    row.findings.append(Finding("rate x Go", 1.5, TARGETS[0]))
    out = json.loads(json.dumps(report.as_json([row], MACHINE, [])))
    assert out["rows"][0]["medians"]["aegis"]["rate_x_go"] == 1.5
    assert out["rows"][0]["findings"][0]["verdict"] == "goal met"


def test_aegis_is_configured_with_its_access_log_on_and_limits_out_of_reach(tmp_path):
    config = configuration(Site(("127.0.0.1:9",), {"server": {"idle_timeout": "1h"}}), 8080, tmp_path)
    assert config["logging"]["file"] == str(tmp_path / "access.log")
    assert config["rate_limit"]["requests_per_second"] == config["adaptive"]["max_rate"] >= 1_000_000
    assert config["server"]["idle_timeout"] == "1h"
    assert config["server"]["port"] == 8080
