"""`aegis simulate` as it is called."""

from __future__ import annotations

from collections import Counter

import pytest

from aegis.config.schema import Adaptive
from aegis.events import Events
from aegis.ratelimit.decide import Tick
from aegis.ratelimit.ticks import AdaptiveLoop
from tests.support.aegis_process import run_aegis

pytestmark = pytest.mark.process


@pytest.fixture
def record(tmp_path):
    lines = []
    ticks = iter([Tick(p95_ms=p95, samples=50, healthy_backends=1) for p95 in (600.0, 600.0, 600.0, 10.0)])
    loop = AdaptiveLoop(
        Adaptive(), 100.0, lambda: next(ticks), lambda rate: None, Events(), lines.append, Counter(), lambda: 1.8e9
    )
    for _ in range(4):
        loop.tick()
    path = tmp_path / "ticks.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def rates(output):
    return [(float(row.split()[3]), float(row.split()[5])) for row in output.splitlines() if row.startswith("2027-")]


def test_with_its_own_settings_both_rates_are_the_same(record):
    done = run_aegis("simulate", str(record))
    assert (done.returncode, done.stderr) == (0, "")
    assert rates(done.stdout) == [(80, 80), (80, 80), (64, 64), (70.4, 70.4)]
    assert "!=" not in done.stdout


def test_with_other_settings_they_stand_side_by_side_above_a_plot(record):
    done = run_aegis(
        "simulate", str(record), "--set", "adaptive.reduction_factor=0.5", "--set", "adaptive.recovery_factor=2"
    )
    assert done.returncode == 0
    assert rates(done.stdout) == [(80, 50), (80, 50), (64, 25), (70.4, 50)]
    assert "o recorded  * replayed" in done.stdout
    assert done.stdout.isascii()


def test_a_bad_line_is_named_with_its_number_and_exit_2(record):
    record.write_bytes(record.read_bytes() + b'{"time": 5}\n')
    done = run_aegis("simulate", str(record))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{record}:5: is no recorded tick: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "adaptive.reduction_facto=0.5"], "did you mean adaptive.reduction_factor?"),
        (["--set", "adaptive.reduction_factor=1"], "must be a number above 0"),
        (["--set", "adaptive.max_rate=50"], "the configured rate 100 is not within"),
    ],
)
def test_a_bad_setting_is_exit_2(record, arguments, words):
    done = run_aegis("simulate", str(record), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_an_empty_record_and_a_missing_one_are_exit_2(record):
    assert run_aegis("simulate", str(record) + ".gone").returncode == 2
    record.write_bytes(b"")
    done = run_aegis("simulate", str(record))
    assert done.returncode == 2
    assert "holds no ticks" in done.stderr
