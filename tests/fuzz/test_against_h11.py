"""A stranger as oracle: whatever both h11 and Aegis accept, they must read the same, and end it at the same byte.

SECONDS=600 in the environment lets each of these run that long, on messages never seen before.
"""

from __future__ import annotations

from random import Random

import pytest

from aegis.http1.request_head import RequestHeads
from tests.fuzz import messages
from tests.fuzz.readers import aegis_request, aegis_response, h11_request, h11_response
from tests.support.cases import accepted_cases

FEW = 6000


@pytest.mark.timeout(0)
def test_a_request_that_both_accept_is_read_the_same_and_ends_at_the_same_byte():
    heads, compared = RequestHeads(), 0  # one memo for all: what it remembers must not show
    for number, rng in enumerate(messages.rounds(FEW)):
        raw = messages.request(rng)
        ours, theirs = aegis_request(raw, heads, rng), h11_request(raw)
        if ours is not None and theirs is not None:
            compared += 1
            assert ours == theirs, f"round {number}: {raw!r}"
    assert compared > FEW // 5


@pytest.mark.timeout(0)
def test_a_response_that_both_accept_is_read_the_same_and_ends_at_the_same_byte():
    compared = 0
    for number, rng in enumerate(messages.rounds(FEW)):
        raw, method = messages.response(rng), rng.choice(["GET", "GET", "HEAD"])
        ours, theirs = aegis_response(raw, method, rng), h11_response(raw, method)
        if ours is not None and theirs is not None:
            compared += 1
            assert ours == theirs, f"round {number} to {method}: {raw!r}"
    assert compared > FEW // 5


@pytest.mark.parametrize("case", accepted_cases(), ids=str)
def test_an_accepted_case_is_read_as_h11_reads_it(case):
    ours, theirs = aegis_request(case.raw, RequestHeads(), Random(1)), h11_request(case.raw)
    if theirs is not None:  # h11 is stricter in a few places
        assert ours == theirs


def test_what_we_refuse_is_refused_however_it_is_cut():
    for rng in messages.rounds(800):
        raw = messages.request(rng)
        verdicts = {aegis_request(raw, RequestHeads(), Random(seed)) is None for seed in range(3)}
        assert len(verdicts) == 1, raw
