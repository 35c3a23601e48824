"""What a tracked client costs."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from aegis.config.schema import RateLimit
from aegis.ratelimit.limiter import Limiter
from tests.support.clock import ManualClock

ENTRIES = 65_536
BOUND = 250


def addresses(family):
    for number in range(ENTRIES):
        high, low = divmod(number, 256)
        if family == "v4":
            # The longest there are.
            yield f"{100 + high % 156}.{100 + high // 156}.{100 + low % 156}.{100 + low // 156}"
        else:
            yield f"2001:db8:{high + 0x1000:x}:{low + 0x1000:x}::"


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_tracked_client_costs_at_most_250_bytes(family, monkeypatch):
    """Key, dict entry, bucket and its number; while it is being limited, the count and the time too."""
    monkeypatch.setattr("aegis.ratelimit.limiter.masked", str)  # masking 65,536 addresses takes its time
    clock = ManualClock()
    limiter = Limiter(RateLimit(requests_per_second=0.001, burst=2, max_entries=ENTRIES), clock)

    def ask(times):
        for address in addresses(family):
            clock.advance(0.0001)  # no two buckets share a number
            for _ in range(times):
                limiter.take(address)

    def each():
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / ENTRIES

    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ask(1)
        assert each() <= BOUND
        ask(2)
        for number, bucket in enumerate(limiter._buckets.values(), 1001):
            bucket.refused = number  # a count with bytes of its own
        assert each() <= BOUND
    finally:
        tracemalloc.stop()
    assert limiter.tracked == ENTRIES
