"""One process takes over what another one counted."""

from aegis.config.schema import Metrics
from aegis.metrics.counters import Counters
from aegis.metrics.histogram import Histogram
from aegis.metrics.window import LatencyWindow


def window(samples=(), size=5, at=0.0):
    made = LatencyWindow(Metrics(window_samples=size))
    for sample in samples:
        made.record(sample, at)
    return made


def test_the_newest_samples_are_those_recorded_last():
    assert window(map(float, range(8))).newest(3) == [5.0, 6.0, 7.0]
    assert window([1.0, 2.0]).newest(5) == [1.0, 2.0]
    assert window().newest(5) == []


def test_samples_of_two_windows_are_one_window():
    mine, theirs = window([1.0, 2.0, 3.0]), window([10.0, 20.0])
    mine.absorb(theirs.newest(2), theirs.total, theirs.histogram, 0.0)
    assert mine.latencies(0.0) == [1.0, 2.0, 3.0, 10.0, 20.0]
    assert mine.total == 5
    assert sum(mine.histogram.buckets) == 5
    mine.record(30.0, 0.0)
    assert mine.latencies(0.0) == [2.0, 3.0, 10.0, 20.0, 30.0]


def test_more_than_are_sent_are_counted_and_the_order_stays():
    mine, theirs = window([1.0, 2.0, 3.0]), window(map(float, range(100, 112)))
    mine.absorb(theirs.newest(2), theirs.total, theirs.histogram, 0.0)
    assert mine.total == 15
    assert mine.latencies(0.0)[-2:] == [110.0, 111.0]
    assert sum(mine.histogram.buckets) == 15
    for sample in (1.5, 2.5, 3.5):
        mine.record(sample, 0.0)
    assert mine.latencies(0.0) == [110.0, 111.0, 1.5, 2.5, 3.5]


def test_counters_of_two_processes_are_one_sum():
    counters, took = Counters(["GET"]), Histogram()
    took.buckets[0], took.seconds = 3, 0.5
    for _ in range(2):
        counters.absorb([(200, "GET", "ok", 3), (404, "GET", "ok", 1)], took, 2)
    assert counters.requests == {(200, "GET", "ok"): 6, (404, "GET", "ok"): 2}
    assert (counters.total, counters.retries, sum(counters.durations.buckets)) == (8, 4, 6)
