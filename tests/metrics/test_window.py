"""The latency window: a ring of `window_samples` or `window`, whichever is smaller, and nearest-rank percentiles."""

from __future__ import annotations

import math
import random
from time import process_time
from timeit import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.config.duration import Duration
from aegis.config.schema import Metrics
from aegis.metrics.histogram import Percentiles
from aegis.metrics.window import FEW, LatencyWindow, nearest_rank, pooled_rank

LATENCIES = st.floats(min_value=0, max_value=3_600_000)


def section(samples=1000, window="60s"):
    return Metrics(window=Duration(window), window_samples=samples)


def window_of(*latencies, now=1000.0, **keys):
    window = LatencyWindow(section(**keys))
    for latency in latencies:
        window.record(latency, now)
    return window


class Model:
    """The same in the plainest way: remember everything, cut when asked."""

    def __init__(self, samples, span):
        self.samples, self.span, self.kept = samples, span, []

    def record(self, latency, now):
        self.kept = [*self.kept, (latency, now)][-self.samples :]

    def resize(self, samples, span):
        self.samples, self.span = samples, span
        self.kept = self.kept[-samples:]

    def latencies(self, now):
        return [latency for latency, stamp in self.kept if stamp >= now - self.span]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), LATENCIES, st.sampled_from([0.0, 0.25, 0.5, 1.0, 5.0])),
        st.tuples(st.just("resize"), st.integers(1, 12), st.sampled_from(["500ms", "1s", "3s", "1m"])),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 12))
def test_it_holds_the_last_samples_that_are_young_enough_through_every_change_of_size(steps, samples):
    now = 1000.0
    window, model = LatencyWindow(section(samples, "3s")), Model(samples, 3.0)
    for kind, first, second in steps:
        if kind == "record":
            now += second
            window.record(first, now)
            model.record(first, now)
        else:
            window.reconfigure(section(first, second))
            model.resize(first, float(Duration(second)))
        assert window.latencies(now) == model.latencies(now)
    assert window.percentiles(now).samples == len(model.latencies(now))
    assert window.total == sum(kind == "record" for kind, *_ in steps)


@given(st.lists(LATENCIES, min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_percent_do_not_exceed(latencies, percent):
    found = nearest_rank(sorted(latencies), percent)
    enough = [each for each in latencies if 100 * sum(x <= each for x in latencies) >= percent * len(latencies)]
    assert found == min(enough)


@given(st.lists(st.lists(LATENCIES, max_size=40), min_size=1, max_size=30).filter(any), st.integers(1, 100))
def test_a_pooled_percentile_is_that_of_all_values_together(windows, percent):
    together = sorted(value for window in windows for value in window)
    assert pooled_rank([sorted(window) for window in windows], percent) == nearest_rank(together, percent)


@pytest.mark.parametrize(
    "draw", [lambda rng: rng.expovariate(0.05), lambda rng: 7.0, lambda rng: rng.choice([0.0, 3e6])]
)
def test_so_it_is_with_more_values_than_are_sorted_at_once(draw):
    rng = random.Random(1)
    windows = [sorted(draw(rng) for _ in range(rng.randrange(200))) for _ in range(60)]
    together = sorted(value for window in windows for value in window)
    assert len(together) > 3 * FEW
    for percent in (1, 50, 95, 99, 100):
        assert pooled_rank(windows, percent) == nearest_rank(together, percent)


@pytest.mark.parametrize(
    ("count", "p50", "p95", "p99"),
    [(1, 1, 1, 1), (2, 1, 2, 2), (20, 10, 19, 20), (21, 11, 20, 21), (100, 50, 95, 99), (101, 51, 96, 100)],
)
def test_percentiles_are_nearest_rank(count, p50, p95, p99):
    window = window_of(*range(count, 0, -1))
    assert window.percentiles(1000.0) == Percentiles(p50, p95, p99, count)


def test_without_samples_there_is_no_percentile():
    assert window_of().percentiles(1000.0) == Percentiles(None, None, None, 0)


def test_a_sample_exactly_as_old_as_the_window_still_counts_and_an_older_one_does_not():
    window = window_of(7.0, window="60s")
    assert window.percentiles(1060.0).samples == 1
    assert window.percentiles(math.nextafter(1060.0, 2000)).samples == 0


def test_more_than_window_samples_push_the_oldest_out():
    window = window_of(*range(1, 1002))
    assert window.latencies(1000.0)[0] == 2
    assert window.percentiles(1000.0).samples == 1000


def test_every_sample_falls_into_the_histogram_for_good():
    window = window_of(4.9, 5.0, 30.0, 20_000.0, samples=2)
    assert window.histogram.buckets == [2, 0, 0, 1, *[0] * 10, 1]
    assert window.histogram.seconds == pytest.approx(20.0399)


def test_asking_changes_nothing():
    window = window_of(3.0, 1.0, 2.0)
    window.percentiles(1000.0)
    assert window.latencies(1000.0) == [3.0, 1.0, 2.0]


def test_recording_costs_under_a_microsecond():
    """0.3 µs on a machine that does nothing else, twice that on one whose cores are all taken."""
    known = {"record": window_of().record, "now": 1000.0}
    best = min(repeat("record(12.5, now)", globals=known, number=2_000, repeat=150, timer=process_time))
    assert best / 2_000 < 1e-6


def test_it_says_its_state():
    assert repr(window_of(1.0)) == "<LatencyWindow 1000 samples or 60 s, 1 recorded>"
