import gevent
from gevent.event import Event as Flag

from aegis import background
from aegis.background import Background, Job, _pause
from tests.support.clock import ManualClock
from tests.support.poll import eventually


def test_a_job_runs_again_and_again_until_it_is_stopped():
    runs = []
    running = Background([Job("count", 0.005, lambda: runs.append(1))])
    running.start()
    eventually(lambda: len(runs) >= 3, "three runs")
    running.stop()
    count = len(runs)
    gevent.sleep(0.03)
    assert len(runs) == count


def test_a_crashed_job_goes_on_with_its_reason_logged(caplog):
    runs = []

    def crash():
        runs.append(1)
        raise ValueError("the reason")

    running = Background([Job("crashing", 0.005, crash), Job("calm", 0.005, lambda: None)])
    running.start()
    eventually(lambda: len(runs) >= 3, "three runs")
    running.stop()
    assert "crashing" in caplog.text
    assert "the reason" in caplog.text


def test_the_first_run_comes_after_one_interval_not_at_once():
    runs = []
    running = Background([Job("late", 60, lambda: runs.append(1))])
    running.start()
    gevent.sleep(0.01)
    running.stop()
    assert runs == []


def test_a_job_may_run_at_once():
    runs = []
    running = Background([Job("soon", 60, lambda: runs.append(1), first=0.0)])
    running.start()
    eventually(lambda: runs, "the first run")
    running.stop()
    assert runs == [1]


def waits_of(monkeypatch, job, clock, count):
    """How long its greenlet waits before each of its first runs, on a clock that nothing else moves."""
    waits = []

    class Waiting(Flag):
        def wait(self, timeout):
            waits.append(round(timeout, 6))
            clock.advance(timeout)
            if len(waits) == count:
                raise gevent.GreenletExit
            return False

    monkeypatch.setattr(background, "monotonic", clock)
    monkeypatch.setattr(background, "Flag", Waiting)
    running = Background([job])
    running.start()
    gevent.joinall(running.greenlets, timeout=10, raise_error=True)
    return waits


def test_an_interval_counts_from_start_to_start(monkeypatch):
    clock = ManualClock()
    job = Job("slow", 10, lambda: clock.advance(6), first=0.0)
    assert waits_of(monkeypatch, job, clock, 4) == [0, 4, 4, 4]


def test_a_run_that_takes_longer_than_its_interval_is_followed_at_once_by_one_and_no_more(monkeypatch):
    clock = ManualClock()
    durations = [25, 1, 1]
    job = Job("late", 10, lambda: clock.advance(durations.pop(0)), first=0.0)
    assert waits_of(monkeypatch, job, clock, 4) == [0, 0, 9, 9]


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

    running = Background([Job("sleeping", 0.001, run)])
    running.start()
    gevent.sleep(0.02)
    running.stop()
    assert ended == [1]


def test_a_job_that_is_gone_leaves_nothing_behind():
    lateness = {}
    background = Background([Job("goes", 60, lambda: None, first=0.0)], lateness)
    background.start()
    eventually(lambda: "goes" in lateness, "its run")
    background.reconfigure([])
    assert (lateness, background.greenlets) == ({}, [])


def test_a_background_names_its_jobs():
    assert "sweep" in repr(Background([Job("sweep", 1, lambda: None)]))
