"""What a finished request counts."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from aegis.metrics.counters import Counters
from aegis.metrics.histogram import BOUNDS
from aegis.reasons import Reason


@pytest.fixture
def counters():
    return Counters(["GET", "POST"])


def ended(counters, *, seconds=0.002, **slots):
    """One exchange that ended."""
    counters.ended(
        SimpleNamespace(**{"status": 200, "method": "GET", "reason": Reason.OK, "attempts": 0} | slots), seconds
    )


def test_requests_are_counted_by_status_method_and_reason(counters):
    ended(counters)
    ended(counters)
    ended(counters, method="POST", status=413, reason=Reason.BODY_TOO_LARGE)
    assert counters.requests == {(200, "GET", "ok"): 2, (413, "POST", "body_too_large"): 1}
    assert counters.total == 3


def test_methods_outside_allowed_methods_are_one_series(counters):
    for number in range(1000):
        ended(counters, method=f"M{number}", status=405, reason=Reason.METHOD_NOT_ALLOWED)
    ended(counters, method="", status=400, reason=Reason.BAD_REQUEST_LINE)
    assert counters.requests == {(405, "other", "method_not_allowed"): 1000, (400, "other", "bad_request_line"): 1}
    assert len(counters._cells) == 0  # nor does anything else grow with what clients invent


def test_a_method_that_a_reload_takes_away_is_counted_as_other_from_then_on(counters):
    ended(counters, method="POST")
    counters.reconfigure(["GET", "PATCH"])
    for method in ("POST", "PATCH", "GET"):
        ended(counters, method=method)
    assert counters.requests == {
        (200, "POST", "ok"): 1,
        (200, "other", "ok"): 1,
        (200, "PATCH", "ok"): 1,
        (200, "GET", "ok"): 1,
    }


def test_buckets_are_those_of_the_contract():
    assert BOUNDS == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert all(low < high for low, high in pairwise(BOUNDS))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.005, 0), (0.0050001, 1), (0.1, 5), (0.1000001, 6), (10.0, 13), (10.1, 14), (3600.0, 14)],
)
def test_a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(counters, seconds, bucket):
    ended(counters, seconds=seconds)
    assert [place for place, count in enumerate(counters.durations.buckets) if count] == [bucket]
    assert counters.durations.seconds == seconds
    assert counters.durations.cumulative == [0] * bucket + [1] * (15 - bucket)


def test_a_tunnel_is_a_request_but_no_duration(counters):
    for _ in range(3):
        ended(counters, status=101, seconds=3600.0)
    assert counters.requests == {(101, "GET", "ok"): 3}
    assert sum(counters.durations.buckets) == 0


def test_attempts_after_the_first_are_retries(counters):
    ended(counters, attempts=1)
    ended(counters, attempts=3)
    ended(counters)
    assert counters.retries == 2


def test_statuses_are_classes_and_499_stands_apart(counters):
    for status in (101, 200, 204, 304, 400, 499, 502):
        ended(counters, status=status)
    assert counters.statuses() == {"1xx": 1, "2xx": 2, "3xx": 1, "4xx": 1, "499": 1, "5xx": 1}


def test_reasons_are_counted_over_statuses_and_methods(counters):
    ended(counters, status=200)
    ended(counters, status=500, method="POST")
    ended(counters, status=502, reason=Reason.BACKEND_TIMEOUT)
    assert counters.reasons() == {"ok": 2, "backend_timeout": 1}


@pytest.mark.parametrize(
    ("reason", "status", "side"),
    [
        (Reason.BACKEND_ABORTED, 200, "backend"),
        (Reason.CLIENT_GONE, 499, "client"),
        (Reason.CLIENT_GONE, 200, "client"),
        (Reason.CLIENT_SLOW, 200, "client"),
        (Reason.BODY_TIMEOUT, 200, "client"),
        (Reason.CLIENT_SLOW, 408, None),  # a refusal that arrived
        (Reason.BODY_TIMEOUT, 408, None),
        (Reason.BACKEND_TIMEOUT, 502, None),
        (Reason.OK, 200, None),
    ],
)
def test_a_message_that_broke_off_is_counted_on_the_side_that_broke_it_off(counters, reason, status, side):
    ended(counters, status=status, reason=reason)
    assert counters.aborted() == {"client": int(side == "client"), "backend": int(side == "backend")}
