"""The checker finds what is planted, and nothing in a round that went well."""

from __future__ import annotations

import random

import pytest

from tests.stress.checker import SLACK, Held, growth, left_behind, violations
from tests.stress.clients import enter_answer
from tests.stress.disturbances import plan
from tests.stress.ledger import ANSWERED, BROKEN, CLOSED, LEFT, SILENT, Ledger, difference, fill, token_of
from tests.support.contract import SECURITY_FIELDS
from tests.support.raw_client import Response


def answer(token, number, size=100, status=200, body=None):
    fields = [*SECURITY_FIELDS.items(), ("X-Request-ID", "a" * 32), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")]
    if number:
        fields.append(("X-Stress", f"{token} {number}"))
    return Response(status, "OK", fields, fill(token, size) if body is None else body, "length")


class Round:
    """One request of which everything is well, and the parts to spoil it."""

    def __init__(self, method="GET", **more):
        self.ledger = Ledger("r")
        self.asked = self.ledger.ask("small", method, 100, **more)
        self.asked.outcome, self.asked.ended = ANSWERED, self.asked.began + 1
        self.delivery = self.deliver()
        enter_answer(self.asked, answer(self.asked.token, self.delivery.number))
        self.line()

    def deliver(self, token="", behaviour="well", *, whole=True):
        delivery = self.ledger.deliver(token or self.asked.token, "b1", behaviour, self.asked.method)
        delivery.whole = whole
        return delivery

    def line(self, **more):
        line = {"path": f"/s/{self.asked.token}/100/length", "request_id": "a" * 32, "status": 200, "reason": "ok"}
        self.ledger.lines.append(line | more)

    def found(self):
        """The one violation, in its words."""
        found = violations(self.ledger)
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def round_():
    return Round()


def test_a_round_that_went_well_has_no_violation(round_):
    assert violations(round_.ledger) == []


def test_the_words_name_the_request_and_its_connection(round_):
    round_.asked.where = "127.0.0.2:1234"
    round_.ledger.lines.clear()
    assert round_.found() == "r-0 (small, GET from 127.0.0.2:1234, answered with 200): no access line"


def test_an_answer_of_another_client():
    spoiled = Round()
    other = spoiled.ledger.ask("small", "GET", 100)
    enter_answer(spoiled.asked, answer(other.token, "7"))
    assert "given the answer to ['r-1 7']" in violations(spoiled.ledger)[0]


def test_bytes_of_another_client_within_the_body(round_):
    body = fill(round_.asked.token, 60) + fill("r-9", 40)
    enter_answer(round_.asked, answer(round_.asked.token, round_.delivery.number, body=body))
    assert "foreign bytes at 63 of 100" in round_.found()


def test_a_body_that_is_cut(round_):
    enter_answer(round_.asked, answer(round_.asked.token, round_.delivery.number, size=99))
    assert "99 bytes of body where 100 were due" in round_.found()


def test_an_answer_without_a_length_may_be_cut_by_a_kill_alone(round_):
    response = answer(round_.asked.token, round_.delivery.number, size=60)
    response.framing = "close"
    enter_answer(round_.asked, response)
    assert "60 bytes of body where 100 were due" in round_.found()
    round_.delivery.whole = False
    round_.ledger.kills.append(round_.asked.began + 0.5)
    assert violations(round_.ledger) == []


def test_a_head_without_the_fields_of_every_response(round_):
    response = answer(round_.asked.token, round_.delivery.number)
    response.fields.pop(0)
    enter_answer(round_.asked, response)
    assert "X-Content-Type-Options" in round_.found()


def test_a_request_that_a_backend_saw_spoiled(round_):
    round_.delivery.fault = "foreign bytes at 0"
    assert "delivery 0 to b1" in round_.found()


def test_a_request_that_is_never_answered(round_):
    round_.asked.outcome = SILENT
    assert "neither an answer nor an end" in round_.found()


def test_a_request_that_is_swallowed(round_):
    round_.asked.outcome = CLOSED
    round_.ledger.lines.clear()
    round_.ledger.deliveries.clear()
    round_.asked.delivery = ""
    assert "closed without an answer" in round_.found()
    round_.asked.late = 0.3  # a drain may have ended it, as any connection on which nothing comes
    assert violations(round_.ledger) == []
    round_.asked.fresh, round_.asked.late = False, 0
    assert violations(round_.ledger) == []


def test_two_access_lines(round_):
    round_.line()
    assert "2 access lines" in round_.found()


def test_no_access_line_unless_its_worker_was_killed_or_its_client_went(round_):
    round_.ledger.lines.clear()
    assert "no access line" in round_.found()
    round_.ledger.kills.append(round_.asked.began + 0.5)
    assert violations(round_.ledger) == []
    round_.ledger.kills[0] -= 60
    assert "no access line" in round_.found()
    round_.asked.outcome, round_.asked.delivery = LEFT, ""
    assert violations(round_.ledger) == []


def test_another_status_in_the_log(round_):
    round_.ledger.lines[0]["status"] = 502
    assert "another status in the log: request_id=" in round_.found()


def test_an_internal_error(round_):
    round_.ledger.lines[0] |= {"reason": "internal_error", "status": 200}
    assert "an internal error" in round_.found()


def test_an_answer_that_broke_off_and_is_logged_as_whole(round_):
    round_.asked.outcome = BROKEN
    assert "the log calls it whole" in round_.found()
    round_.ledger.lines[0]["reason"] = "backend_aborted"
    assert violations(round_.ledger) == []


def test_a_refusal_that_is_not_the_one_of_its_reason(round_):
    round_.ledger.deliveries.clear()
    round_.asked.delivery = ""
    enter_answer(round_.asked, answer(round_.asked.token, "", status=502, body=b"what happened inside"))
    round_.ledger.lines[0] |= {"status": 502, "reason": "bad_gateway_reset"}
    assert "refused as 'bad_gateway_reset', but" in round_.found()


def test_an_answer_of_another_delivery(round_):
    round_.deliver(behaviour="reset before head", whole=False)
    assert "answered by delivery 0, the last one was 1" in violations(round_.ledger)[0]


@pytest.mark.parametrize("behaviour", ["less than said", "cut in chunk", "reset in body"])
def test_a_broken_answer_that_looks_whole(round_, behaviour):
    round_.delivery.behaviour = behaviour
    assert f"it looks whole, but comes from delivery 0 to b1 ({behaviour}" in round_.found()


@pytest.mark.parametrize(("method", "sent"), [("POST", 0), ("PATCH", 0), ("PUT", 10)])
def test_a_request_that_may_not_be_replayed_and_is_delivered_twice(method, sent):
    spoiled = Round(method, sent=sent)
    spoiled.deliver(behaviour="reset before head", whole=False)
    spoiled.ledger.deliveries.reverse()
    assert "delivered 2 times, at most 1 is allowed" in spoiled.found()


def test_an_idempotent_request_is_replayed_once_and_not_after_an_answer():
    replayed = Round()
    replayed.ledger.deliveries.insert(0, replayed.deliver(behaviour="reset before head", whole=False))
    replayed.ledger.deliveries.pop()
    assert violations(replayed.ledger) == []
    replayed.ledger.deliveries[0].whole = True
    assert "delivered again after it was answered" in replayed.found()
    replayed.ledger.deliveries[0].whole = False
    replayed.ledger.deliveries.insert(0, replayed.ledger.deliveries[0])
    assert "delivered 3 times, at most 2" in replayed.found()


def test_what_is_malformed_and_served():
    spoiled = Round(malformed=True)
    assert [words.partition("): ")[2] for words in violations(spoiled.ledger)] == [
        "malformed, and yet it reached a backend: delivery 0 to b1 (well, answered)",
        "malformed, and yet not refused",
    ]


def test_what_nobody_asked_for(round_):
    round_.deliver("r-99")
    assert "nobody asked for what a backend was sent as 'r-99'" in round_.found()


def test_what_belongs_to_no_request(round_):
    round_.ledger.faults.append("a connection was refused")
    assert round_.found() == "a connection was refused"


# what is left behind


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (Held(in_flight=1), "1 requests in flight, but nobody asks"),
        (Held(client_connections=2), "2 connections of clients, but nobody asks"),
        (Held(on_backends={"b1": 1}), "b1: 1 requests under way, but nobody asks"),
        (Held(pooled={"b1": 3}), "b1: 3 connections in the pool, but nobody asks"),
        (Held(at_backends={"b1": 1}), "b1: 1 connections at the backend, but nobody asks"),
        (Held(not_admitted={"b1": "half_open"}), "b1 is not admitted although it answers: half_open"),
        (Held(processes=2), "2 processes, at the start it was 1"),
        (Held(greenlets=18), "18 greenlets, at the start it was 17"),
        (Held(descriptors=10), "10 descriptors, at the start it was 9"),
        (Held(logs_dropped=1), "1 log lines were dropped, at the start it was 0"),
    ],
)
def test_what_is_not_given_back_is_named(held, words):
    assert left_behind(Held(processes=1, greenlets=17, descriptors=9), held) == [words]


def test_fewer_than_at_the_start_is_nothing_left_behind():
    assert left_behind(Held(greenlets=17, descriptors=9), Held(greenlets=16, descriptors=8)) == []


def test_memory_may_fill_up_and_then_stays():
    assert growth([40 << 20, 60 << 20, 70 << 20, *[71 << 20] * 20], 1) == []
    climbing = [(40 << 20) + number * SLACK // 10 for number in range(30)]
    assert "resident memory grew from" in growth(climbing, 1)[0]
    assert growth(climbing, 4) == []


# tokens and plans


def test_a_token_is_read_back_from_its_target_and_from_none_that_is_cut_off():
    assert token_of("/s/r1-12/100/length") == "r1-12"
    assert token_of("/s/r1-1") == token_of("/other/r1-1/") == ""


@pytest.mark.parametrize("size", [0, 4, 7, 100_000])
def test_a_body_is_its_tokens_own_and_no_others(size):
    assert difference("r-1", fill("r-1", size), size) == ""
    assert not size or difference("r-2", fill("r-1", size), size)


def test_a_seed_repeats_its_plan():
    first, second = (plan(random.Random("7 1"), 60, 4, 2) for _ in range(2))
    assert first == second
    assert {step.name for step in first} > {"misbehave", "kill worker", "change backends"}
    assert "kill worker" not in {step.name for step in plan(random.Random("7 1"), 60, 4, 1)}
