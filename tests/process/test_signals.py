"""Signals are read from a descriptor: none is lost while nobody reads it."""

from __future__ import annotations

import signal

import gevent
import pytest
from gevent import monkey

from aegis.process.signals import SIGNALS, Inbox
from tests.support.poll import eventually

get_ident = monkey.get_original("_thread", "get_ident")


class Heard:
    """Verbs that note that they were called."""

    def __init__(self):
        self.verbs = []

    def __getattr__(self, name):
        return lambda: self.verbs.append(name)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def inbox(heard):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    made = Inbox(heard)
    yield made
    made.close()
    while signal.sigtimedwait(SIGNALS, 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def send(number):
    """To this thread: those that other tests left behind do not block it, and it would end the run."""
    signal.pthread_kill(get_ident(), number)


@pytest.mark.parametrize(("number", "verb"), SIGNALS.items())
def test_each_signal_calls_its_verb(inbox, heard, number, verb):
    inbox.open()
    send(number)
    eventually(lambda: heard.verbs == [verb], "the verb")


def test_one_that_comes_before_the_inbox_is_open_is_heard_then(inbox, heard):
    send(signal.SIGTERM)
    inbox.open()
    eventually(lambda: heard.verbs == ["stop"], "the verb")


def test_one_that_comes_in_a_pause_stays_pending_for_whoever_comes_next(inbox, heard):
    inbox.open()
    inbox.pause()
    send(signal.SIGTERM)
    gevent.sleep(0.02)
    assert heard.verbs == []
    assert signal.SIGTERM in signal.sigpending()
    inbox.open()
    eventually(lambda: heard.verbs == ["stop"], "the verb")


def test_after_a_pause_no_verb_is_still_to_begin(inbox, heard):
    inbox.open()
    send(signal.SIGTERM)
    inbox._read()
    assert heard.verbs == []
    inbox.pause()
    assert heard.verbs == ["stop"]
