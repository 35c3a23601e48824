from itertools import pairwise
from time import monotonic

import gevent

from aegis.background import Background, Job, _pause
from tests.support.poll import eventually


def test_a_job_runs_again_and_again_until_it_is_stopped():
    runs = []
    background = Background([Job("count", 0.005, lambda: runs.append(1))])
    background.start()
    eventually(lambda: len(runs) >= 3, "three runs")
    background.stop()
    count = len(runs)
    gevent.sleep(0.03)
    assert len(runs) == count


def test_a_crashed_job_goes_on_with_its_reason_logged(caplog):
    runs = []

    def crash():
        runs.append(1)
        raise ValueError("the reason")

    background = Background([Job("crashing", 0.005, crash), Job("calm", 0.005, lambda: None)])
    background.start()
    eventually(lambda: len(runs) >= 3, "three runs")
    background.stop()
    assert "crashing" in caplog.text
    assert "the reason" in caplog.text


def test_the_first_run_comes_after_one_interval_not_at_once():
    runs = []
    background = Background([Job("late", 60, lambda: runs.append(1))])
    background.start()
    gevent.sleep(0.01)
    background.stop()
    assert runs == []


def test_a_job_may_run_at_once():
    runs = []
    background = Background([Job("soon", 60, lambda: runs.append(1), first=0.0)])
    background.start()
    eventually(lambda: runs, "the first run")
    background.stop()
    assert runs == [1]


def test_an_interval_counts_from_start_to_start():
    starts = []

    def slow():
        starts.append(monotonic())
        gevent.sleep(0.06)

    background = Background([Job("slow", 0.1, slow, first=0.0)])
    background.start()
    eventually(lambda: len(starts) >= 4, "four runs")
    background.stop()
    gaps = [after - before for before, after in pairwise(starts)]
    assert 0.08 < sum(gaps) / len(gaps) < 0.15


def test_a_jitter_spreads_the_intervals_by_its_share():
    job = Job("jittered", 10, lambda: None, jitter=0.1)
    pauses = [_pause(job) for _ in range(1000)]
    assert 9 <= min(pauses) < 9.2
    assert 10.8 < max(pauses) <= 11


def test_a_stop_waits_until_every_greenlet_is_gone():
    ended = []

    def run():
        try:
            gevent.sleep(60)
        finally:
            ended.append(1)

    background = Background([Job("sleeping", 0.001, run)])
    background.start()
    gevent.sleep(0.02)
    background.stop()
    assert ended == [1]


def test_a_background_names_its_jobs():
    assert "sweep" in repr(Background([Job("sweep", 1, lambda: None)]))
