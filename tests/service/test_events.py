"""The ring of events."""

from __future__ import annotations

import logging

import pytest

from aegis.events import Events, Kind
from aegis.service.build import tell_of_client


@pytest.fixture
def events():
    return Events(kept=3, clock=lambda: 1_800_000_000.5)


def test_an_event_is_remembered_and_logged_as_a_line_of_the_same_words_and_fields(events, caplog):
    caplog.set_level(logging.INFO, "aegis")
    events.emit(Kind.BACKEND_DOWN, "a is down", level=logging.WARNING, backend="a", error="refused")
    (event,) = events.since()
    assert (event.number, event.time, event.kind, event.level) == (1, 1_800_000_000.5, "backend_down", "WARNING")
    assert (event.message, event.fields) == ("a is down", {"backend": "a", "error": "refused"})
    (record,) = caplog.records
    assert (record.message, record.levelname, record.event, record.backend) == (
        "a is down",
        "WARNING",
        "backend_down",
        "a",
    )


def test_the_ring_keeps_the_last_ones_and_numbers_go_on(events):
    for number in range(5):
        events.emit(Kind.RELOAD, str(number))
    assert [(event.number, event.message) for event in events.since()] == [(3, "2"), (4, "3"), (5, "4")]
    assert [event.number for event in events.since(4)] == [5]
    assert events.since(5) == []
    assert repr(events) == "<Events 3 kept of 5>"


def test_one_event_when_a_client_starts_being_limited_and_one_with_the_count_when_it_stops(events):
    tell_of_client(events, "client_limited", "203.0.x.x", 1)
    tell_of_client(events, "client_relieved", "203.0.x.x", 17)
    started, stopped = events.since()
    assert (started.kind, started.fields) == ("client_limited", {"client": "203.0.x.x"})
    assert (stopped.kind, stopped.fields) == ("client_relieved", {"client": "203.0.x.x", "refused": 17})
