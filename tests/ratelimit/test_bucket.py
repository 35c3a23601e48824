"""The arithmetic alone."""

from __future__ import annotations

import math

import pytest

from aegis.ratelimit.bucket import LEAST_RATE, ROUNDING, Bucket, Terms


def full(terms, now=0.0):
    return Bucket(terms, now - terms.slack)


def test_a_full_bucket_holds_its_burst_and_not_more_however_long_it_waits():
    bucket = full(Terms(10, 5))
    assert bucket.tokens(0.0) == pytest.approx(5)
    assert bucket.tokens(1e6) == 5
    assert bucket.full(0.0)


def test_taking_a_token_leaves_one_less():
    terms = Terms(10, 5)
    bucket = full(terms)
    bucket.take(terms, 0.0)
    assert bucket.tokens(0.0) == pytest.approx(4)
    assert not bucket.full(0.0)


def test_what_would_flow_over_is_lost():
    terms = Terms(10, 2)
    bucket = full(terms)
    leads = [bucket.take(terms, 100.0) for _ in range(3)]
    assert [lead >= -ROUNDING for lead in leads] == [True, True, False]


def test_a_refusal_takes_nothing():
    terms = Terms(1, 1)
    bucket = full(terms)
    bucket.take(terms, 0.0)
    assert {bucket.take(terms, 0.25) for _ in range(100)} == {-0.75}


@pytest.mark.parametrize(
    ("rate", "lead", "left", "seconds"),
    [
        (10, 0.4, 4, 1),  # several a second: one more is always within the second
        (1, 4.0, 4, 1),
        (0.5, 8.0, 4, 2),  # exactly 4 left: the fifth is a whole interval away
        (0.5, 8.5, 4, 2),  # 4.25 left: 1.5 s, rounded up
        (0.5, 9.5, 4, 1),
        (0.1, 0.0, 0, 10),
        (0.1, 0.1, 0, 10),
        (0.1, 1.0, 0, 9),
        (0.1, -10.0, 0, 10),
        (0.1, -9.01, 0, 10),
        (0.1, -9.0, 0, 9),
        (0.1, -0.001, 0, 1),
        (1, -1.0, 0, 1),
        (100, -0.01, 0, 1),
    ],
)
def test_tokens_left_and_seconds_to_the_next(rate, lead, left, seconds):
    terms = Terms(rate, 10)
    assert terms.left(max(lead, 0.0)) == left
    assert terms.seconds(lead) == seconds


def test_new_terms_keep_the_tokens_that_the_old_ones_filled():
    bucket = full(Terms(10, 100))
    for _ in range(100):
        bucket.take(bucket.terms, 0.0)
    bucket.move(Terms(1, 100), 2.0)
    assert bucket.tokens(2.0) == pytest.approx(20)
    assert bucket.tokens(7.0) == pytest.approx(25)


@pytest.mark.parametrize(("burst", "held"), [(3, 3), (10, 5)])
def test_a_new_burst_cuts_and_never_gives(burst, held):
    bucket = full(Terms(10, 5))
    bucket.move(Terms(10, burst), 0.0)
    assert bucket.tokens(0.0) == pytest.approx(held)


def test_a_token_early_by_the_clocks_rounding_is_one_at_a_much_lower_rate_too():
    bucket = Bucket(Terms(1e6, 1), ready=5e-8)
    assert bucket.take(Terms(1e-6, 1), 0.0) >= -ROUNDING


def test_a_rate_next_to_nothing_still_gives_finite_numbers():
    terms = Terms(5e-324, 1_000_000)
    assert terms.rate == LEAST_RATE
    assert terms.seconds(-terms.interval) == 1_000_000
    assert math.isfinite(terms.slack)


def test_reprs_say_the_state():
    terms = Terms(10, 5)
    assert repr(terms) == "<Terms 10/s burst 5>"
    assert repr(Bucket(terms, 3)) == "<Bucket one token at 3.000 <Terms 10/s burst 5> refused 0>"
