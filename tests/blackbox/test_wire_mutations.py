"""Requests with random damage: whatever comes is answered well-formed or not at all, and what is forwarded is sound."""

from __future__ import annotations

import random

import pytest
from gevent.pool import Pool

from tests.support.cases import accepted_cases
from tests.support.contract import check_every_response
from tests.support.raw_client import ConnectionEndedError, RawClient

CONFIG = {
    "server": {
        "read_timeout": "300ms",
        "idle_timeout": "300ms",
        "max_body_bytes": 4096,
        "allowed_hosts": ["example.test", "*.wild.test"],
    }
}

SEED = 20_240_229
COUNT = 3000
ODD = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"0",
    b"+",
    b"%",
]
SOUND = {200, 400, 405, 408, 413, 414, 417, 431}


def damaged(rng, raw):
    """`raw` with one to three bytes replaced, inserted, cut out or doubled."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        piece = rng.choice([*ODD, bytes([rng.randrange(256)])])
        data[at : at + rng.choice([0, 0, 1, 1, 2])] = rng.choice([piece, piece, piece, b"", data[at : at + 20]])
    return bytes(data)


@pytest.fixture(scope="module")
def mutations():
    rng = random.Random(SEED)
    sources = [case.raw for case in accepted_cases() if len(case.raw) < 1000]
    return [damaged(rng, rng.choice(sources)) for _ in range(COUNT)]


def answers_to(aegis, raw):
    """All that comes back on one connection; its end must fall between two responses."""
    answers = []
    with RawClient(aegis.address) as client:
        client.send(raw)
        try:
            while True:
                answers.append(client.read_response("HEAD" if raw.lstrip().startswith(b"HEAD ") else "GET"))
        except ConnectionEndedError as end:
            if end.received:
                raise
    return answers


def test_damaged_requests_are_answered_well_formed_or_not_at_all(aegis, mutations):
    faults = []

    def run(raw):
        try:
            for answer in answers_to(aegis, raw):
                assert answer.status in SOUND, answer
                check_every_response(answer)
        except (AssertionError, OSError) as error:
            faults.append(f"{raw!r}: {error!r}")

    pool = Pool(100)
    for raw in mutations:
        pool.spawn(run, raw)
    pool.join()
    assert not faults, f"{len(faults)} of {COUNT}:\n" + "\n".join(faults[:10])
