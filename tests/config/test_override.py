"""`--set adaptive.KEY=VALUE`."""

from __future__ import annotations

import pytest

from aegis.config.errors import ConfigErrors
from aegis.config.override import adaptive_values
from aegis.ratelimit.record import DECIDING


def test_values_are_decoded_as_the_files_would_be():
    specs = ["adaptive.reduction_factor=0.5", "adaptive.min_samples=0", "adaptive.grow=when_limiting"]
    assert adaptive_values(specs, DECIDING) == {"reduction_factor": 0.5, "min_samples": 0, "grow": "when_limiting"}


def test_the_last_of_two_counts():
    assert adaptive_values(["adaptive.min_rate=1", "adaptive.min_rate=2"], DECIDING) == {"min_rate": 2}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("adaptive.min_rate", "must be adaptive.KEY=VALUE"),
        ("min_rate=5", "did you mean adaptive.min_rate?"),
        ("adaptive.min_rat=5", "did you mean adaptive.min_rate?"),
        ("rate_limit.burst=5", "settable, after adaptive.: latency_threshold_ms"),
        ("adaptive.record=x", "has no part in a decision"),
        ("adaptive.mode=shadow", "has no part in a decision"),
        ("adaptive.reduction_factor=1", "adaptive.reduction_factor = 1: must be a number above 0"),
        ("adaptive.min_samples=1.5", "must be a whole number"),
        ("adaptive.grow=never", "one of always, when_limiting"),
        ("adaptive.min_rate=", "must be a number"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(spec, words):
    with pytest.raises(ConfigErrors) as refused:
        adaptive_values([spec], DECIDING)
    assert words in str(refused.value)


def test_all_errors_come_at_once():
    with pytest.raises(ConfigErrors) as refused:
        adaptive_values(["x", "adaptive.min_rate=0"], DECIDING)
    assert len(refused.value.errors) == 2
