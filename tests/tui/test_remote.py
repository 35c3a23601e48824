"""What `aegis top` sees of an instance that comes and goes."""

from __future__ import annotations

import pytest

from aegis.control import Reloaded, VerbError
from aegis.tui.app import WaitingError
from aegis.tui.remote import Remote
from tests.support.clock import ManualClock
from tests.support.snapshots import NOON, event, snapshot


class GoneError(Exception):
    pass


class Instance:
    """A Control whose process can be away or be another one."""

    def __init__(self):
        self.pid, self.away, self.happened, self.asked = 1, None, [event(1), event(2)], []
        self.started, self.now = NOON, NOON

    def snapshot(self):
        self._there()
        return snapshot(pid=self.pid, time=self.now, uptime=self.now - self.started)

    def events(self, after=0):
        self.asked.append(after)
        return [each for each in self.happened if each.number > after]

    def drain(self, backend):
        self._there()
        return f"{backend} drained"

    def resume(self, backend):
        raise VerbError(f"no backend is called {backend}")

    def reload(self):
        return Reloaded(applied=(), needs_restart=())

    def _there(self):
        if self.away:
            raise GoneError(self.away)


@pytest.fixture
def instance():
    return Instance()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def remote(instance, clock):
    return Remote(instance, "127.0.0.1:9090", unreachable=GoneError, clock=clock)


def test_before_the_first_answer_it_waits_and_says_for_what(remote):
    with pytest.raises(WaitingError, match=r"127\.0\.0\.1:9090"):
        remote.snapshot()


def test_it_answers_from_the_last_poll_and_asks_only_for_newer_events(remote, instance):
    remote.poll()
    instance.happened.append(event(3))
    remote.poll()
    assert remote.snapshot().pid == 1
    assert [each.number for each in remote.events()] == [1, 2, 3]
    assert [each.number for each in remote.events(2)] == [3]
    assert instance.asked == [0, 2]


def test_it_says_why_and_for_how_long_it_waits_when_the_instance_is_gone(remote, instance, clock):
    remote.poll()
    instance.away = "connection refused"
    clock.advance(100)
    remote.poll()
    clock.advance(12)
    remote.poll()
    with pytest.raises(WaitingError, match="12s so far; connection refused"):
        remote.snapshot()


def test_restarted_instance_is_seen_anew_with_its_own_events(remote, instance):
    remote.poll()
    instance.pid, instance.happened = 2, [event(1, "fresh")]
    remote.poll()
    assert remote.snapshot().pid == 2
    assert [each.message for each in remote.events()] == ["fresh"]


def test_events_count_on_while_the_same_process_grows_older(remote, instance):
    remote.poll()
    instance.now += 3600.05  # the two clocks are not read at one moment
    remote.poll()
    assert instance.asked == [0, 2]


def test_restart_under_the_same_pid_begins_another_count_of_events(remote, instance):
    remote.poll()
    instance.now += 5
    instance.started, instance.happened = instance.now - 1, [event(1, "fresh")]
    remote.poll()
    assert [each.message for each in remote.events()] == ["fresh"]


def test_verbs_are_asked_at_once_and_failures_are_words(remote, instance):
    assert remote.drain("a") == "a drained"
    with pytest.raises(VerbError, match="no backend"):
        remote.resume("zzz")
    instance.away = "gone away"
    with pytest.raises(VerbError, match="gone away"):
        remote.drain("a")
