import pytest

from aegis.net.deadlines import sweep_interval


@pytest.mark.parametrize(
    ("timeouts", "seconds"),
    [([8.0], 1.0), ([4.0, 120.0], 0.5), ([60.0], 1.0), ([0.1, 5.0], 0.05), ([0.8, 0.9], 0.1), ([0.0001], 0.05)],
)
def test_the_sweep_comes_every_eighth_of_the_smallest_timeout_within_bounds(timeouts, seconds):
    assert sweep_interval(timeouts) == pytest.approx(seconds)
    assert sweep_interval(iter(timeouts)) == pytest.approx(seconds)
