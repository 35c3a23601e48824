"""A limiter on a clock of its own, and who it told of what."""

from __future__ import annotations

import pytest

from aegis.config.schema import RateLimit
from aegis.ratelimit.limiter import Limiter
from tests.support.clock import ManualClock

PEER = "192.0.2.7"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def limiter_of(clock, events):
    """Make a limiter: rate, burst and whatever else the section has."""

    def make(rate=10.0, burst=5, **others):
        section = RateLimit(requests_per_second=rate, burst=burst, **others)
        return Limiter(section, clock, lambda *event: events.append(event))

    return make


@pytest.fixture
def drain():
    """Take all the tokens of a key; how many it had."""

    def run(limiter, key=PEER):
        taken = 0
        while limiter.take(key)[0]:
            taken += 1
        return taken

    return run
