"""No change and no death of one of its parts costs a request, but those that a killed process was at."""

from __future__ import annotations

import pytest

from tests.support.under_load import SCENARIOS, measured

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("scenario", "workers"),
    [
        pytest.param(scenario, workers, id=f"{scenario.run.__name__}-{workers}")
        for scenario in SCENARIOS
        for workers in scenario.workers
    ],
)
def test_who_is_served_under_load_does_not_notice(scenario, workers):
    its = measured(scenario, workers)
    assert its.sent == its.answered + its.retryable + its.lost
    assert its.failed == 0, its
    assert its.lost + its.retryable <= its.in_flight, its
