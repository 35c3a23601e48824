from __future__ import annotations

import pytest

from aegis.config.schema import HealthCheck
from aegis.pool.health import TRANSITIONS, Condition, Event, Health


def counted(results, **thresholds):
    """A counter after these results, `+` passed and `-` failed."""
    health = Health(HealthCheck(**thresholds))
    for result in results:
        health.count(passed=result == "+")
    return health


@pytest.mark.parametrize(
    ("results", "condition"),
    [
        ("", "unknown"),
        ("+", "up"),
        ("-", "down"),  # the first result decides at once
        ("+--", "up"),
        ("+---", "down"),
        ("+--+--", "up"),  # the opposite result resets the count
        ("+--+---", "down"),
        ("-+", "down"),
        ("-++", "up"),
        ("-+-+", "down"),
        ("-+-++", "up"),
        ("+---++", "up"),
        ("+---++--", "up"),
        ("+---++---", "down"),
        ("+----+-----+", "down"),
    ],
)
def test_three_failures_mark_it_down_and_two_passes_up(results, condition):
    assert counted(results).condition == condition


def test_thresholds_of_one_decide_at_once():
    assert counted("+-", unhealthy_threshold=1).condition is Condition.DOWN
    assert counted("-+", healthy_threshold=1).condition is Condition.UP


def test_a_result_says_what_it_brought_about():
    health = Health(HealthCheck())
    assert health.count(passed=False) is Event.FIRST_FAILED
    assert health.count(passed=True) is None
    assert health.count(passed=True) is Event.PASSES_REACHED
    assert health.count(passed=True) is None
    assert [health.count(passed=False) for _ in range(3)] == [None, None, Event.FAILURES_REACHED]


def test_other_thresholds_hold_from_the_next_result_and_the_count_stays():
    health = counted("+--")
    health.reconfigure(HealthCheck(unhealthy_threshold=4))
    health.count(passed=False)
    assert health.condition is Condition.UP
    health.count(passed=False)
    assert health.condition is Condition.DOWN


def test_every_condition_is_left_by_the_table_and_none_leads_back_to_unknown():
    assert {condition for condition, _ in TRANSITIONS} == set(Condition)
    assert Condition.UNKNOWN not in TRANSITIONS.values()


def test_a_counter_says_its_state():
    assert repr(counted("+--")) == "<Health up streak=2>"
