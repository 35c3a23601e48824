"""When there is a dashboard, and which SIGHUP belongs to a terminal that is gone."""

from __future__ import annotations

import gevent
import pytest

from aegis.config import load
from aegis.service import screen
from aegis.service.screen import Hangups, wanted
from tests.support.clock import ManualClock

BACKEND = "backends: [{url: 'http://192.0.2.1', weight: 1}]\n"


def config(text=""):
    return load.load_text(BACKEND + text, "aegis.yml", {})


@pytest.mark.parametrize(
    ("text", "headless", "terminal", "shown"),
    [
        ("", False, True, True),
        ("", True, True, False),
        ("tui: {enabled: true}", True, True, False),
        ("tui: {enabled: false}", False, True, False),
        ("", False, False, False),
    ],
)
def test_dashboard_wants_a_terminal_and_headless_wins(monkeypatch, text, headless, terminal, shown):
    monkeypatch.setattr(screen, "has_terminal", lambda: terminal)
    assert wanted(config(text), headless=headless) is shown


@pytest.mark.parametrize(
    ("loss", "signal", "swallowed"), [(0.0, 0.0, True), (0.0, 0.9, True), (0.0, 1.0, True), (0.0, 1.1, False)]
)
def test_hangup_within_a_second_after_the_loss_is_swallowed(loss, signal, swallowed):
    clock = ManualClock()
    hangups = Hangups(clock)
    clock.advance(loss)
    hangups.lost()
    clock.advance(signal)
    assert hangups.swallow(up=False) is swallowed


def test_exactly_one_hangup_is_swallowed():
    hangups = Hangups(ManualClock())
    hangups.lost()
    assert hangups.swallow(up=False)
    assert not hangups.swallow(up=False)


def test_hangup_of_a_process_that_lost_nothing_reloads_at_once():
    assert not Hangups(ManualClock()).swallow(up=False)


def test_hangup_that_comes_before_the_loss_waits_for_it():
    hangups = Hangups()
    waiting = gevent.spawn(hangups.swallow, up=True)
    gevent.sleep(0.05)
    assert not waiting.ready()
    hangups.lost()
    assert waiting.get(timeout=1)


def test_hangup_while_the_dashboard_stays_up_reloads_after_the_second():
    hangups = Hangups()
    with gevent.Timeout(3):
        assert not hangups.swallow(up=True)
