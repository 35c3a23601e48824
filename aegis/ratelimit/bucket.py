"""Token-bucket arithmetic. Pure: knows no clock, no clients, no HTTP.

A bucket is one moment, `ready`: when it holds (or held) exactly one token. Then a request that finds a token costs a
comparison and an addition, nothing is refilled by anyone, and a full bucket is recognised without a multiplication.
"""

import math
from typing import Final

ROUNDING: Final = 1e-7
"""Seconds by which a token may be early. The clock's own rounding (1e-8 after two years of uptime) would else refuse
a client that waited exactly as long as it was told."""

LEAST_RATE: Final = 1e-6
"""Tokens per second, one in eleven days: below, waits are not finite numbers any more and no field could say them."""


class Terms:
    """What buckets fill by: rate (tokens per second) and burst (tokens, ≥ 1). Immutable, shared by many buckets."""

    __slots__ = ("brisk", "burst", "filled", "grain", "interval", "rate", "slack")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = max(rate, LEAST_RATE)
        self.burst = burst
        self.interval = 1 / self.rate  # seconds a token
        self.slack = (burst - 1) / self.rate  # seconds from one token to full
        self.filled = self.slack - ROUNDING  # the same, for the question whether it is full
        self.brisk = self.rate >= 1  # the next token is never more than a second away
        self.grain = ROUNDING * self.rate + 1e-9  # tokens that rounding may hide

    def __repr__(self) -> str:
        return f"<Terms {self.rate:g}/s burst {self.burst}>"

    def left(self, lead: float) -> int:
        """Whole tokens that are left once the one is taken that came `lead` seconds ago."""
        return int(lead * self.rate + self.grain)

    def seconds(self, lead: float) -> int:
        """Whole seconds until `left` grows by one or, while no token is there, until one is. At least 1.

        Rounded up (RFC 9110 §10.2.3 wants delta-seconds), so that a client that obeys is never refused again.
        """
        if self.brisk:
            return 1
        wait = -lead if lead < -ROUNDING else (self.left(lead) + 1) * self.interval - lead
        return max(1, math.ceil(wait - ROUNDING / 2))


class Bucket:
    """One client's tokens, and whether it is being limited. All times in seconds of one monotonic clock.

    `terms` are those of the bucket's last request: by them it fills until the next one, whatever the rate has become
    since, so that a new rate is exact without a walk through all buckets. Three numbers and a shared reference: what
    a tracked client costs is mostly its key.
    """

    __slots__ = ("ready", "refused", "refused_at", "terms")

    def __init__(self, terms: Terms, ready: float) -> None:
        self.terms = terms
        self.ready = ready
        self.refused = 0  # requests since it began to be limited; 0 = it is not
        self.refused_at = 0.0  # the last of them

    def __repr__(self) -> str:
        return f"<Bucket one token at {self.ready:.3f} {self.terms!r} refused {self.refused}>"

    def take(self, terms: Terms, now: float) -> float:
        """Take a token if one is there. Returns seconds since that token came; below -ROUNDING: minus the wait.

        Where none is there nothing is taken, so that the wait does not grow with the asking.
        """
        if self.terms is not terms:
            self.move(terms, now)
        ready = self.ready
        lead = now - ready
        if lead > terms.slack:  # full; what would have flowed over is lost
            lead = terms.slack
            ready = now - lead
        if lead >= -ROUNDING:
            self.ready = ready + terms.interval
        return lead

    def tokens(self, now: float) -> float:
        """What it holds, by its own terms."""
        lead = now - self.ready
        if -ROUNDING <= lead < 0:  # or a much lower rate would blow the rounding up to seconds
            lead = 0.0
        return min(float(self.terms.burst), 1 + lead * self.terms.rate)

    def full(self, now: float) -> bool:
        """Whether it holds its burst, by its own terms."""
        return now - self.ready >= self.terms.filled

    def move(self, terms: Terms, now: float) -> None:
        """Fill by other terms from now on. It keeps the tokens it has; what is above a lower burst flows over."""
        self.ready = now - (self.tokens(now) - 1) / terms.rate
        self.terms = terms
