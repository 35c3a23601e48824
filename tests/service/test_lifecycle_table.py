import pytest

from aegis.service.lifecycle import TRANSITIONS, Event, Stage
from aegis.service.limits import SPARE, clamp_connections


def test_a_process_starts_serves_drains_and_stops():
    stage = Stage.STARTING
    for event in (Event.LISTENING, Event.STOP_ASKED, Event.DRAINED):
        stage = TRANSITIONS[stage, event]
    assert stage is Stage.STOPPED


def test_a_forced_stop_stops_too():
    assert TRANSITIONS[Stage.DRAINING, Event.FORCED] is Stage.STOPPED


def test_nothing_leaves_stopped_and_every_event_moves_something():
    assert Stage.STOPPED not in {before for before, _ in TRANSITIONS}
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert {before for before, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(Stage)


@pytest.mark.parametrize(
    ("wanted", "descriptors", "fits"),
    [
        (10_000, 1_048_576, 10_000),
        (10_000, 2 * 10_000 + SPARE, 10_000),
        (10_000, 2 * 10_000 + SPARE - 1, 9_999),
        (10_000, 1024, (1024 - SPARE) // 2),
        (100, SPARE, 1),
        (100, 10, 1),
    ],
)
def test_max_connections_is_clamped_to_what_the_descriptor_limit_admits(wanted, descriptors, fits):
    assert SPARE == 256
    assert clamp_connections(wanted, descriptors) == fits
