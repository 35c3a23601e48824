"""Who may send a request now: one token bucket per client, and what is counted and told of it. Knows no HTTP."""

from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import IPv6Network
from itertools import islice
from typing import Final, Literal

from aegis.config.schema import RateLimit
from aegis.ratelimit.bucket import ROUNDING, Bucket, Terms
from aegis.security.masking import masked, unmapped

Kind = Literal["client_limited", "client_relieved"]
OnEvent = Callable[[Kind, str, int], None]
Verdict = tuple[bool, int, int]
"""(allowed, whole tokens left, whole seconds ≥ 1 until one more is there)."""

QUIET: Final = 0.999
"""Seconds without a refusal after which a client has stopped being limited: the least Retry-After, less the rounding
of clocks. Without it a client at twice its rate would start and stop with every other request."""

SLICE: Final = 1024
"""Buckets that a purge looks at in one go: 0.15 to 0.3 ms in which no request is served."""


def key_of(address: str, ipv6_prefix: int) -> str:
    """The key under which a TCP peer is tracked: an IPv4 address as it is, of an IPv6 one the network.

    Raises ValueError for what is no address.
    """
    # [SECURITY] RateLimit: the wire hands on v4-mapped peers as IPv4; were one to slip through, all of IPv4 would
    # share the bucket of ::/64.
    address = unmapped(address)
    if ":" not in address:
        return address
    return str(IPv6Network((address, ipv6_prefix), strict=False).network_address)


def _tell_nobody(_kind: Kind, _key: str, _count: int) -> None:
    pass


class Limiter:
    """One token bucket per client.

    clock: seconds, monotonic. on_event is called with (kind, masked client, count) in the middle of a request or a
    purge, so it must neither block nor raise: `client_limited` with 1 at a client's first refusal; `client_relieved`
    with the number of refusals when it is allowed, or found by a purge, `QUIET` seconds after the last of them, and
    when it is forgotten. `ipv6_prefix` is that of construction for good: it needs a restart.

    While evictions go on, new clients start with one token. They go on from an eviction to the start of the next
    purge, and a client that pushes another one out is itself under this rule.
    """

    def __init__(self, section: RateLimit, clock: Callable[[], float], on_event: OnEvent = _tell_nobody) -> None:
        self.clock = clock
        self.on_event = on_event
        self.key: Callable[[str], str] = lru_cache(maxsize=4096)(partial(key_of, ipv6_prefix=section.ipv6_prefix))
        self.terms = Terms(section.requests_per_second, section.burst)
        self.shadow = section.mode == "shadow"
        self.allowed = 0
        self.limited = 0
        self.shadow_limited = 0
        self.evictions = 0
        self._evictions_before = 0  # as the last purge found them
        self._section = section
        self._buckets: dict[str, Bucket] = {}  # the oldest first
        self._oldest: list[tuple[str, Bucket]] = []  # next to go last; some may be gone already

    def __repr__(self) -> str:
        mode = self._section.mode
        return f"<Limiter {mode} {self.rate:g}/s burst {self.terms.burst} {self.tracked} tracked>"

    @property
    def tracked(self) -> int:
        """Clients that have a bucket."""
        return len(self._buckets)

    @property
    def evicting(self) -> bool:
        """Whether a client was pushed out since the last purge, so that new ones start with one token."""
        return self.evictions != self._evictions_before

    @property
    def rate(self) -> float:
        """Tokens per second. A bucket sees a new rate at its next request and fills by the old one until then."""
        return self.terms.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._agree(rate, self.terms.burst)

    def take(self, key: str) -> Verdict:
        """Spend a token, if there is one. key: what `key` makes of the peer's address (which leaves IPv4 as it is).

        In shadow mode all are allowed; who would not be is counted. 0.35 µs, with however many buckets beside it.
        """
        now = self.clock()
        terms = self.terms
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._track(key, now)
        lead = bucket.take(terms, now)
        if lead < -ROUNDING:
            return self._over(key, bucket, now, lead)
        self.allowed += 1
        if bucket.refused and now - bucket.refused_at >= QUIET:
            self._relieve(key, bucket)
        return True, int(lead * terms.rate + terms.grain), 1 if terms.brisk else terms.seconds(lead)

    def purge(self, pause: Callable[[], object] | None = None) -> None:
        """Forget the clients whose buckets are full. pause: called every `SLICE` clients, to let others run."""
        self._evictions_before = self.evictions
        keys = list(self._buckets)
        get = self._buckets.get
        for start in range(0, len(keys), SLICE):
            if start and pause is not None:
                pause()
            now = self.clock()
            for key in keys[start : start + SLICE]:
                bucket = get(key)
                if bucket is not None and (bucket.refused or now - bucket.ready >= bucket.terms.filled):
                    self._look_after(key, bucket, now)

    def reconfigure(self, section: RateLimit) -> None:
        """Go on by another section of the same `ipv6_prefix`. All buckets stay, but for what a lower cap pushes out.

        A changed `requests_per_second` resets the rate to it; else the rate stays what it was tuned to.
        """
        before, self._section = self._section, section
        same = section.requests_per_second == before.requests_per_second
        self._agree(self.rate if same else section.requests_per_second, section.burst)
        self.shadow = section.mode == "shadow"
        while len(self._buckets) > section.max_entries:
            self._evict()

    def _agree(self, rate: float, burst: int) -> None:
        if (rate, burst) != (self.terms.rate, self.terms.burst):
            self.terms = Terms(rate, burst)

    def _over(self, key: str, bucket: Bucket, now: float, lead: float) -> Verdict:
        """The verdict on a request that found no token."""
        seconds = self.terms.seconds(lead)
        if self.shadow:
            self.shadow_limited += 1
            return True, 0, seconds
        self.limited += 1
        bucket.refused += 1
        bucket.refused_at = now
        if bucket.refused == 1:
            self.on_event("client_limited", masked(key), 1)
        return False, 0, seconds

    def _relieve(self, key: str, bucket: Bucket) -> None:
        """Say that a client is being limited no longer."""
        count, bucket.refused = bucket.refused, 0
        self.on_event("client_relieved", masked(key), count)

    def _track(self, key: str, now: float) -> Bucket:
        """A bucket for a client that has none."""
        terms = self.terms
        if len(self._buckets) >= self._section.max_entries:
            self._evict()
        # [SECURITY] RateLimit: someone with more addresses than we track would find each of them forgotten, and its
        # burst back, on coming round again. While clients are being pushed out, new ones get one token.
        ready = now if self.evicting else now - terms.slack
        bucket = self._buckets[key] = Bucket(terms, ready)
        return bucket

    def _evict(self) -> None:
        """Push out the client that was tracked first (not the one heard of least recently: that would cost every
        request a re-insertion).
        """
        key, bucket = self._next_to_go()
        while self._buckets.get(key) is not bucket:  # purged since
            key, bucket = self._next_to_go()
        del self._buckets[key]
        self.evictions += 1
        if bucket.refused:
            self._relieve(key, bucket)

    def _next_to_go(self) -> tuple[str, Bucket]:
        if not self._oldest:
            # A few hundred at once: a dict is slow to find its first entry while holes lie before it.
            few = self._section.max_entries // 256 + 1
            self._oldest = list(islice(self._buckets.items(), few))[::-1]
        return self._oldest.pop()

    def _look_after(self, key: str, bucket: Bucket, now: float) -> None:
        """What a purge does with a bucket that is full or being limited."""
        full = bucket.full(now)
        if bucket.refused and (full or now - bucket.refused_at >= QUIET):
            self._relieve(key, bucket)
        if not full:
            return
        # [SECURITY] RateLimit: forgetting a client gives it a new bucket. Only a full one is forgotten, and one that
        # is full by a burst since raised is not: it has to earn the difference.
        if bucket.terms.burst >= self.terms.burst:
            del self._buckets[key]
        else:
            bucket.move(self.terms, now)
