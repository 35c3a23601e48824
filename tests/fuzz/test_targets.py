"""A short, seeded run of everything that `make fuzz` runs for long."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.targets import TARGETS, seeds, words

ROUNDS = {"config": 150}


def mutated(rng: Random, raw: bytes, pieces: list[bytes]) -> bytes:
    """One to three pieces of it replaced, inserted, cut out or doubled."""
    for _ in range(rng.randint(1, 3)):
        place, width = rng.randrange(len(raw) + 1), rng.choice([0, 0, 1, 1, 3, 20])
        piece = rng.choice([rng.choice(pieces), bytes([rng.randrange(256)]), raw[place : place + width] * 2, b""])
        raw = raw[:place] + piece + raw[place + width :]
    return raw


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read_without_a_finding(name):
    for data in seeds(name):
        TARGETS[name](data)


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub65jZQ==\r\n\r\n"
)
AUTHORITY = b"CONNECT -a?b=c HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.mark.parametrize("data", [HANDSHAKE, AUTHORITY])
def test_what_the_fuzzer_found_once_is_read_the_same(data):
    TARGETS["request"](data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_seeds_are_read_without_a_finding(name):
    rng, start, pieces = Random(20_260_224), seeds(name), sorted(words())
    for _ in range(ROUNDS.get(name, 1500)):
        data = mutated(rng, rng.choice(start), pieces)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error
