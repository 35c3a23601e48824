"""The judgement of slow readers, on times and counts of the test."""

import pytest

from aegis.net.pace import LONGEST_LOOK, LOOKS, LOWEST_RATE, Pace

STALL = 8.0
LARGE = 1 << 30


def waiting(stall=STALL, accepted=None):
    pace = Pace(stall)
    pace.accepted = accepted
    pace.begin(0.0)
    return pace


def looked_at(pace, queue_at, until):
    """Looks whenever one is due: when it gives up, or None. queue_at: seconds → bytes not acknowledged."""
    while pace.due <= until:
        now = pace.due
        if pace.objection(now, queue_at(now)):
            return now
    return None


def test_a_reader_that_takes_nothing_is_given_up_after_the_stall_and_at_most_one_look_more():
    found = looked_at(waiting(), lambda now: 100_000, 100)
    assert STALL <= found <= STALL * (1 + 1 / LOOKS)


def test_a_reader_that_takes_a_byte_now_and_then_has_not_stalled():
    assert looked_at(waiting(), lambda now: 100_000 - int(now / 7), 1000) is None


def test_a_reader_that_stops_is_given_up_a_stall_after_its_last_byte():
    found = looked_at(waiting(), lambda now: 100_000 - 100 * min(20, int(now)), 1000)
    assert 20 + STALL <= found <= 20 + STALL * (1 + 2 / LOOKS)


@pytest.mark.parametrize(("rate", "lives"), [(1100, True), (1000, False), (100, False), (64_000, True)])
def test_after_longer_than_the_stall_a_body_must_have_averaged_1_kib_a_second_of_waiting(rate, lives):
    found = looked_at(waiting(accepted=1_000_000), lambda now: 1_000_000 - int(rate * now), 500)
    if lives:
        assert found is None
    else:
        assert STALL < found <= STALL * (1 + 2 / LOOKS)


def test_what_a_body_moved_before_it_became_slow_counts_for_its_average():
    fast = 100 * LOWEST_RATE
    found = looked_at(waiting(accepted=fast + 50_000), lambda now: 50_000 - int(10 * now), 1000)
    assert 95 < found < 105


def test_time_that_nobody_waited_does_not_count():
    pace = waiting(accepted=1_000_000)
    pace.took(1.0)  # a second of waiting; then the backend took an hour
    pace.begin(3600.0)
    assert not pace.objection(3601.0, 1_000_000 - 100)
    assert not pace.objection(3602.0, 1_000_000 - 200)


def test_where_no_rate_is_asked_progress_is_enough():
    assert looked_at(waiting(), lambda now: LARGE - int(now), 10_000) is None


def test_looks_are_never_further_apart_than_it_takes_to_judge_a_rate():
    assert waiting(3600.0).due == LONGEST_LOOK
    assert waiting(8.0).due == 1.0


def test_a_pace_says_its_state():
    assert "5 bytes" in repr(waiting(accepted=5))
