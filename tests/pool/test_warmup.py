from __future__ import annotations

from itertools import accumulate

import pytest

from aegis.pool.warmup import after_probe, after_recovery


def shares(results, start=0.25):
    """After each of these results, `+` passed and `-` failed."""
    return list(accumulate(results, lambda share, result: after_probe(share, passed=result == "+"), initial=start))


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("+++", [0.25, 0.5, 0.75, 1.0]),
        ("+++++", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        ("++-+", [0.25, 0.5, 0.75, 0.25, 0.5]),  # a failure falls back
        ("-", [0.25, 0.25]),
        ("+++-", [0.25, 0.5, 0.75, 1.0, 1.0]),  # once full, failures are the counter's business
    ],
)
def test_a_recovered_backend_gets_a_quarter_more_with_each_pass(results, expected):
    assert shares(results) == expected


def test_a_recovery_begins_at_a_quarter_but_for_the_only_one_eligible():
    assert after_recovery(alone=False) == 0.25
    assert after_recovery(alone=True) == 1.0
