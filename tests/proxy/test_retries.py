"""Trying again: the budget by its numbers, and what a client sees when backends fail, over real sockets."""

from __future__ import annotations

from time import monotonic
from types import SimpleNamespace

import gevent
import pytest

from aegis.config.schema import CircuitBreaker, Retry
from aegis.proxy.retry import PATIENCE, Budget, Retries
from aegis.reasons import BackendError, Reason, Replay
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, then_close, then_reset

ALL = Retry(budget_percent=100, min=100)


# the budget


@pytest.mark.parametrize(
    ("percent", "least", "requests", "allowed"),
    [
        (20, 3, 0, 3),  # `min` may be in flight whatever the percentage
        (20, 3, 14, 3),
        (20, 3, 19, 4),
        (20, 3, 99, 20),
        (20, 0, 3, 0),
        (20, 0, 4, 1),
        (0, 3, 1000, 3),
        (0, 0, 1000, 0),
        (100, 0, 9, 10),
    ],
)
def test_retries_in_flight_are_that_percentage_of_the_requests_in_flight(percent, least, requests, allowed):
    budget = Budget(Retry(budget_percent=percent, min=least), lambda: requests)  # beside the one that asks
    taken = [budget.take() for _ in range(allowed + 2)]
    assert taken == [True] * allowed + [False] * 2
    assert (budget.in_flight, budget.refused) == (allowed, 2)


def test_a_place_that_is_given_back_is_free_again():
    budget = Budget(Retry(budget_percent=0, min=1), lambda: 0)
    assert [budget.take(), budget.take()] == [True, False]
    budget.give_back()
    assert budget.take()


def test_a_retry_waits_for_a_place_but_not_for_long():
    budget = Budget(Retry(budget_percent=0, min=1), lambda: 0)
    assert budget.take()
    waiting = [gevent.spawn(budget.take) for _ in range(2)]
    gevent.idle()
    assert not any(each.ready() for each in waiting)
    budget.give_back()
    before = monotonic()
    assert sorted(each.get() for each in waiting) == [False, True]  # the one that got the place keeps it
    assert monotonic() - before <= PATIENCE + 0.2
    assert (budget.in_flight, budget.refused) == (1, 1)


def test_where_no_retry_is_allowed_none_waits():
    budget = Budget(Retry(budget_percent=0, min=0), lambda: 0)
    before = monotonic()
    assert not budget.take()
    assert monotonic() - before < PATIENCE


def test_another_section_holds_at_once():
    budget = Budget(Retry(budget_percent=0, min=1), lambda: 0)
    budget.reconfigure(Retry(budget_percent=0, min=0))
    assert not budget.take()


class Policy:
    """Picks the first of its names that is not passed over."""

    def __init__(self, names):
        self.names = names

    def pick(self, passing_over=frozenset()):
        return next((name for name in self.names if name not in passing_over), None)


def following(retries, replay, state, method="GET", body=None):
    """What comes after this failure; the failure itself when nothing does."""
    failure = BackendError(Reason.BAD_GATEWAY_RESET, "x", replay)
    try:
        return retries.following(SimpleNamespace(method=method, body=body), failure, state)
    except BackendError as raised:
        return None if raised is failure else raised


CONNECT, FRESH = Replay.ANOTHER_BACKEND, Replay.FRESH_CONNECTION


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([(CONNECT, "a")], [("b", False)]),
        ([(CONNECT, "a"), (CONNECT, "b"), (CONNECT, "c")], [("b", False), ("c", False), None]),
        ([(FRESH, "a")], [("b", True)]),
        ([(FRESH, "a"), (FRESH, "b")], [("b", True), None]),  # tried once more, not twice
        ([(FRESH, "a"), (CONNECT, "b")], [("b", True), ("c", False)]),  # the replay never got through: nothing was sent
        ([(CONNECT, "a"), (FRESH, "b")], [("b", False), ("c", True)]),
        ([(Replay.NEVER, "a")], [None]),
    ],
)
def test_each_failure_leads_on_or_ends(failures, expected):
    budget = Budget(ALL, lambda: 0)
    retries = Retries(budget, Policy("abc"))
    assert [following(retries, *each) for each in failures] == expected
    retries.end()
    assert budget.in_flight == 0


def test_without_another_backend_a_replay_goes_to_the_same_and_a_refused_connect_nowhere():
    assert following(Retries(Budget(ALL, lambda: 0), Policy("a")), FRESH, "a") == ("a", True)
    assert following(Retries(Budget(ALL, lambda: 0), Policy("a")), CONNECT, "a") is None


def test_a_replay_never_goes_back_to_where_a_connect_failed():
    retries = Retries(Budget(ALL, lambda: 0), Policy("ab"))
    assert following(retries, CONNECT, "a") == ("b", False)
    assert following(retries, FRESH, "b") == ("b", True)


def test_a_retry_holds_one_place_however_often_it_fails_and_none_after_its_end():
    budget = Budget(Retry(budget_percent=0, min=1), lambda: 0)
    first, second = (Retries(budget, Policy("abcd")) for _ in range(2))
    assert following(first, CONNECT, "a")
    assert following(second, CONNECT, "a") is None
    assert following(first, CONNECT, "b")
    assert budget.in_flight == 1
    first.end()
    first.end()
    assert budget.in_flight == 0


# over sockets


@pytest.fixture
def two(proxy):
    """(proxy, `failing` and `good`): each first request goes to `failing`."""
    with ScriptedBackend() as failing, ScriptedBackend() as good:
        good.on("/x", answer(body=b"good"))

        def make(retry=ALL):
            return proxy(failing.url, failing.address, (0.3, 0.3, 60.0), more=[(good.url, good.address)], retry=retry)

        yield make, failing, good


def nothing_left(made):
    eventually(lambda: made.backends.in_flight() == 0, "nothing in flight")
    assert made.budget.in_flight == 0
    assert all(state.breaker.permits == 0 for state in made.states)


def get(made, method="GET", body=b""):
    with RawClient(made.address) as client:
        client.request(method, "/x", body=body)
        return client.read_response(method)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_connection_that_fails_before_any_answer_is_tried_once_more_elsewhere(two, method):
    make, failing, good = two
    made = make()
    failing.on("/x", then_close(b""))
    assert get(made, method).status == 200
    assert (len(failing.requests), len(good.requests)) == (1, 1)
    nothing_left(made)


def test_once_more_and_not_twice(two):
    make, failing, good = two
    made = make()
    failing.on("/x", then_close(b""))
    good.on("/x", then_reset(b""))
    assert get(made).status == 502
    assert (len(failing.requests), len(good.requests)) == (1, 1)
    nothing_left(made)


@pytest.mark.parametrize(
    ("how", "method", "body"),
    [
        (then_close(b""), "POST", b""),
        (then_close(b""), "PATCH", b""),
        (then_close(b""), "PUT", b"hello"),  # a body byte was taken
        (then_close(b"H"), "GET", b""),  # a response byte came
        (then_reset(b"HTTP/1.1 200 OK\r\n"), "GET", b""),
        (answer(600), "GET", b""),
        (lambda *_: gevent.sleep(1), "GET", b""),  # a timeout is no failed connection
    ],
)
def test_what_may_have_been_acted_on_is_never_sent_again(two, how, method, body):
    make, failing, good = two
    made = make()
    failing.on("/x", how)
    assert get(made, method, body).status == 502
    assert good.requests == []
    nothing_left(made)


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"hello"), ("PATCH", b"")])
def test_a_connect_failure_moves_any_request_to_another_backend(proxy, method, body):
    host, port = free_port()
    with ScriptedBackend() as good:
        good.on("/x", answer(body=b"good"))
        made = proxy(f"http://{host}:{port}", (host, port), more=[(good.url, good.address)], retry=ALL)
        for _ in range(4):
            assert get(made, method, body).status == 200
        assert [request.body for request in good.requests] == [body] * 4
        assert [state.suspect for state in made.states] == [True, False]
        nothing_left(made)


def test_when_every_connect_fails_the_answer_is_502_and_each_was_tried_once(proxy):
    addresses = [free_port() for _ in range(3)]
    (first, *more) = [(f"http://{host}:{port}", (host, port)) for host, port in addresses]
    made = proxy(*first, more=more, retry=ALL)
    assert get(made).status == 502
    assert [state.failures for state in made.states] == [1, 1, 1]
    nothing_left(made)


def test_without_a_place_in_the_budget_the_failure_is_the_answer(two):
    make, failing, good = two
    made = make(Retry(budget_percent=0, min=0))
    failing.on("/x", then_close(b""))
    assert get(made).status == 502
    assert good.requests == []
    nothing_left(made)


def test_a_retry_is_in_flight_until_its_body_is_through(two):
    make, failing, good = two
    made = make(Retry(budget_percent=0, min=1))
    failing.on("/x", then_close(b""))
    release = gevent.event.Event()

    def slowly(connection, request):
        connection.send(answer(body=b"a", length=2))
        release.wait(5)
        connection.send(b"b")

    good.on("/x", slowly)
    with RawClient(made.address) as first:
        first.request("GET", "/x")
        first.read_head()
        assert made.budget.in_flight == 1
        good.on("/x", then_close(b""))
        assert get(made).status == 502  # whichever it begins with
        assert made.budget.refused == 1
        release.set()
    nothing_left(made)


def test_a_client_that_leaves_during_a_retry_gives_its_place_back(two):
    make, failing, good = two
    made = make()
    failing.on("/x", then_close(b""))
    good.on("/x", lambda connection, request: connection.wait_until_peer_leaves())
    with RawClient(made.address) as client:
        client.request("GET", "/x")
        good.wait_for("/x")
        assert made.budget.in_flight == 1
    nothing_left(made)
    assert made.states[1].failures == 0


def test_whatever_fails_and_however_often_nothing_is_left_behind(two):
    make, failing, good = two
    made = make(Retry(budget_percent=50, min=2))
    ways = [
        then_close(b""),
        then_reset(b""),
        then_close(b"HTTP/1.1 200"),
        answer(500),
        answer(600),
        then_close(answer(body=b"x", length=50)),
        answer(body=b"fine"),
    ]
    for backend in (failing, good):
        backend.on("/x", *ways * 12)
    for state in made.states:
        state.breaker.reconfigure(CircuitBreaker(failure_threshold=1000))  # or most of it meets open ones

    def client(number):
        for _ in range(10):
            with RawClient(made.address, timeout=5) as raw:
                method = ("GET", "POST")[number % 2]
                close = [("Connection", "close")] if number % 4 == 0 else []
                raw.request(method, "/x", close, body=b"hello" if number % 3 == 0 else b"")
                if number % 5:
                    raw.read_to_end() if close else raw.receive()

    gevent.joinall([gevent.spawn(client, number) for number in range(12)], timeout=40, raise_error=True)
    nothing_left(made)
    assert sum(state.failures for state in made.states) > 20


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b""), ("POST", b"words")])
def test_bytes_that_come_behind_an_answer_never_answer_the_next_request(proxy, method, body):
    """The stray bytes and the next request come in one turn of the loop: whichever is looked at first."""
    with ScriptedBackend() as backend:
        made = proxy(backend.url, backend.address, retry=ALL)
        with RawClient(made.address) as client, RawClient(made.address) as other:
            for number in range(40):
                asking = client if number % 2 else other
                assert client.get("/first").body == b"hello"
                parked = next(each for each in backend.connections if not each.closed)
                parked.send(answer(body=b"stray"))
                asking.request(method, "/second", body=body)
                assert asking.read_response().body == b"hello"
        assert len(backend.asked("/second")) == 40
