"""Sequences of calls on what keeps a state: limiter, breakers, policies, windows, counters, pace, log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aegis.config.duration import Duration
from aegis.config.schema import CircuitBreaker, Metrics, RateLimit
from aegis.context import Peer, RequestContext
from aegis.http1.block import Block
from aegis.http1.memo import Memo
from aegis.logs.access_line import access_line, as_json, as_text
from aegis.metrics.counters import Counters
from aegis.metrics.window import LatencyWindow, pooled_rank
from aegis.net.deadlines import sweep_interval
from aegis.net.pace import Pace
from aegis.pool.backend import Backend, NotAdmittedError
from aegis.pool.backends import Backends
from aegis.pool.balancer import WeightedRoundRobin
from aegis.pool.least_connections import LeastConnections
from aegis.pool.peak_ewma import PowerOfTwo
from aegis.ratelimit.bucket import Bucket, Terms
from aegis.ratelimit.layer import RateLimitLayer, fields_of
from aegis.ratelimit.limiter import Limiter
from aegis.reasons import ANSWERS, BackendError, ExhaustedError, Reason, Refused, Replay, phrase
from tests.pool.states import make
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    Outcomes = Iterator[tuple[str, Callable[[], Any]]]


def _section(random: Random) -> RateLimit:
    return RateLimit(
        requests_per_second=random.choice([0.001, 0.5, 1.0, 3.0, 7.3, 100.0, 1e6]),
        burst=random.choice([1, 2, 10, 1_000_000]),
        max_entries=random.choice([1, 2, 5, 300]),
        mode=random.choice(["enforce", "enforce", "shadow"]),
    )


def limits(random: Random) -> Outcomes:
    clock, heard = ManualClock(random.choice([0.0, 12.5, 1e8])), []
    section = _section(random)
    limiter = Limiter(section, clock, lambda *event: heard.append(event))
    layer = RateLimitLayer(lambda _environ, _start_response: [], limiter)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:0:1::", "2001:db9::%eth0", "::ffff:1.2.3.4"]
    for _ in range(40):
        clock.now += random.choice([0.0, 0.0, 1e-8, 0.01, 0.3, 0.999, 1.0, 60.0, 5000.0])
        address = random.choice(addresses)
        match random.randrange(12):
            case 0:
                yield "purge", limiter.purge
            case 1:
                limiter.rate = random.choice([0.01, 2.0, 50.0])
                yield "rate", lambda: (limiter.rate, limiter.terms)
            case 2:
                other = _section(random)
                yield repr(other), lambda other=other: limiter.reconfigure(other)
            case 3:
                key = limiter.key(address)
                yield f"take {key}", lambda key=key: limiter.take(key)
            case _:
                yield f"layer {address}", lambda address=address: _limited(layer, address)
        yield (
            "state",
            lambda: (
                repr(limiter),
                limiter.allowed,
                limiter.limited,
                limiter.shadow_limited,
                limiter.evictions,
                heard[-3:],
            ),
        )


def _limited(layer: RateLimitLayer, address: str) -> Any:
    context = _context(address)
    layer({"aegis.request": context}, lambda *_: None)
    return context.reason, context.extra


def _context(address: str, method: str = "GET", target: bytes = b"/", block: Block | None = None) -> RequestContext:
    return RequestContext(
        "id", Peer(address, "m", b"", trusted=False), method, target, block or Block(([], []), http11=True), 1.0
    )


def buckets(random: Random) -> Outcomes:
    terms = [Terms(random.choice([1e-9, 0.1, 1, 2.5, 1e6]), random.choice([1, 3, 1000])) for _ in range(2)]
    bucket, now = Bucket(terms[0], random.uniform(-5, 5)), 0.0
    for each in terms:
        yield (
            repr(each),
            lambda each=each: (
                fields_of(each),
                [(each.left(lead), each.seconds(lead)) for lead in (-3.0, -1e-8, 0.0, 0.5, 77.7, 1e9)],
            ),
        )
    for _ in range(10):
        now += random.choice([0.0, 0.1, 1.0, 1e4])
        given = random.choice(terms)
        yield (
            f"{now}",
            lambda now=now, given=given: (bucket.take(given, now), bucket.tokens(now), bucket.full(now), repr(bucket)),
        )


def policies(random: Random) -> Outcomes:
    """Backends that are taken, given back, fail, are drained and weighted, under each policy."""
    clock = ManualClock(100.0)
    section = CircuitBreaker(
        failure_threshold=random.randrange(1, 4),
        success_threshold=random.randrange(1, 3),
        open_timeout=Duration("5s"),
        half_open_max_requests=random.randrange(1, 3),
    )
    weights = [random.choice([0, 1, 1, 2, 5, 9]) for _ in range(random.randrange(1, 6))]
    states = [make(clock, breaker=section, name=f"b{number}", weight=weight) for number, weight in enumerate(weights)]
    backends = Backends(states, clock=clock)
    policy = random.choice(
        [WeightedRoundRobin, LeastConnections, lambda found: PowerOfTwo(found, clock, random.random)]
    )(backends)
    held: list[tuple[Any, Any]] = []
    yield f"{weights} {section}", lambda: repr(policy)
    for _ in range(60):
        clock.now += random.choice([0.0, 0.0, 0.01, 1.0, 6.0])
        yield from _step(random, clock, backends, policy, held)
    yield "states", lambda: (list(map(repr, states)), [state.failures for state in states], repr(policy))


def _step(random: Random, clock: ManualClock, backends: Backends, policy: Any, held: list[Any]) -> Outcomes:
    state = random.choice(backends.states)
    match random.randrange(10):
        case 0:
            yield "drain", lambda: state.set_drained(drained=not state.drained)
        case 1:
            yield "health", lambda: state.set_healthy(healthy=not state.healthy)
        case 2:
            share = random.choice([0.25, 0.5, 0.75, 1.0])
            yield "share", lambda: state.set_share(share)
        case 3:
            yield "tick", lambda: (backends.tick(), [repr(each.breaker) for each in backends.states])
        case 4 | 5 | 6 if held:
            taken, connection = held.pop(random.randrange(len(held)))
            succeeded = random.choice([True, True, False, False, None])
            taken.record(random.expovariate(0.1), clock.now)
            yield f"back {succeeded}", lambda: taken.give_back(connection, True, succeeded)
        case _:
            over = frozenset(random.sample(backends.states, random.choice([0, 0, 0, 1]) % (len(backends.states) + 1)))
            yield "pick", lambda: _pick(policy, over, held)


def _pick(policy: Any, over: frozenset[Any], held: list[Any]) -> Any:
    state = policy.pick(over) if over else policy.pick()
    if state is None:
        return None
    try:
        held.append((state, state.take(False)))
    except NotAdmittedError as error:
        return "not admitted", str(error)
    return state.backend.name, state.in_flight, repr(state.breaker), state.breaker.epoch


def windows(random: Random) -> Outcomes:
    window = LatencyWindow(_metrics(random))
    other = LatencyWindow(_metrics(random))
    now = 1000.0
    for _ in range(30):
        now += random.choice([0.0, 0.5, 20.0])
        yield from _window_step(random, window, other, now)
        yield "state", lambda: (repr(window), window.total, window.histogram.buckets, window.histogram.seconds)
    sizes = [random.choice([1, 3, 700]) for _ in range(random.randrange(1, 5))]
    pools = [sorted(random.uniform(0, 100) for _ in range(size)) for size in sizes]
    yield "pooled", lambda: [pooled_rank(pools, percent) for percent in (1, 50, 95, 99, 100)]


def _metrics(random: Random) -> Metrics:
    return Metrics(window=Duration(random.choice(["10s", "60s"])), window_samples=random.choice([1, 2, 7, 100]))


def _window_step(random: Random, window: LatencyWindow, other: LatencyWindow, now: float) -> Outcomes:
    match random.randrange(8):
        case 0:
            yield "percentiles", lambda: (window.percentiles(now), window.latencies(now))
        case 1:
            count = random.choice([0, 1, 3, 50])
            yield "newest", lambda: window.newest(count)
        case 2:
            yield "absorb", lambda: window.absorb(other.newest(3), other.total, other.histogram, now)
        case 3:
            section = _metrics(random)
            yield "reconfigure", lambda: window.reconfigure(section)
        case _:
            sample = random.choice([0.0, 5.0, 1e9, random.expovariate(0.01)])
            yield f"{sample}", lambda: (window.record(sample, now), other.record(sample / 3, now))


def finished(random: Random) -> Outcomes:
    """Access lines and counters of requests that are over."""
    counters, kept = Counters(["GET", "POST"]), []
    for _ in range(6):
        target = random.choice([b"/", b"/\xff\x80?q", b'/"\\\n\0', b"/" + b"a" * 3000, b"", random.randbytes(20)])
        block = Block(([], []), http11=random.random() < 0.8)
        block.host_name = random.choice(["a.test", "", "\udc80", "é"])
        context = _context("192.0.2.1", random.choice(["GET", "FOO", "-"]), target, block)
        context.status = random.choice([0, 101, 200, 408, 499, 502, 599])
        context.reason = random.choice(list(Reason))
        context.detail = random.choice(["", "x" * 2000, "\ud800", 'a "b"\r\n'])
        context.attempts = random.randrange(4)
        context.bytes_in, context.bytes_out = (
            random.getrandbits(random.choice([3, 61, 62, 63, 70])),
            random.getrandbits(40),
        )
        context.ended = random.choice([1.0, 1.0000004, 3.25, 1e9])
        context.backend_ms = random.choice([None, 0.0, 0.0004, 12.3456, 1e12])
        context.backend = random.choice([None, Backend("b", "http", "b.test", 80, 1, ())])
        kept.append(context)
        seconds = random.choice([0.0, 0.005, 0.0050001, 11.0])
        yield "count", lambda context=context, seconds=seconds: counters.ended(context, seconds)
        yield "line", lambda context=context: (access_line(context, 1e9), as_text([access_line(context, 1e9)]))
    yield "json", lambda: as_json([access_line(context, 1.7e9) for context in kept])
    yield (
        "counted",
        lambda: (
            counters.requests,
            counters.statuses(),
            counters.reasons(),
            counters.aborted(),
            counters.retries,
            counters.total,
            counters.durations.buckets,
            repr(counters),
        ),
    )


def paces(random: Random) -> Outcomes:
    pace, now = Pace(random.choice([0.5, 10.0, 3600.0])), 50.0
    pace.accepted = random.choice([None, 0, 5000])
    pace.begin(now)
    for _ in range(15):
        now += random.choice([0.0, 0.1, 3.0, 100.0])
        if random.random() < 0.3:
            yield "took", lambda now=now: pace.took(now)
        queued = random.choice([0, 10, 4000, 1 << 40])
        yield f"{now} {queued}", lambda now=now, queued=queued: (pace.objection(now, queued), pace.due, repr(pace))
    timeouts = [random.uniform(0.01, 100) for _ in range(3)]
    yield "sweep", lambda: sweep_interval(timeouts)


def memos(random: Random) -> Outcomes:
    memo: Memo[int] = Memo()
    keys = [random.randbytes(random.choice([1, 8, 2048, 2049])) for _ in range(30)]
    for _ in range(60):
        key = random.choice(keys)
        if random.random() < 0.05:
            memo.rotate()
        yield (
            repr(key[:8]),
            lambda key=key: (memo.get(key), memo.offer(key, len(key)), memo.get(key), len(memo), repr(memo)),
        )


def words(random: Random) -> Outcomes:
    """What is said of reasons and of errors."""
    reason, replay = random.choice(list(Reason)), random.choice(list(Replay))
    detail = random.choice(["", "a", "\ud800"])
    for error in (
        Refused(reason, detail),
        Refused(reason),
        BackendError(reason, detail, replay),
        ExhaustedError(detail),
    ):
        yield "error", lambda error=error: (str(error), repr(error), error.args, f"{error}", error.reason, error.detail)
    answer = ANSWERS[reason]
    yield (
        str(reason),
        lambda: (
            answer,
            hash(answer) == hash(ANSWERS[reason]),
            answer.body,
            answer.status_line,
            f"{reason}",
            f"{reason!r}",
            phrase(random.randrange(90, 700)),
        ),
    )
    yield "frozen", lambda: setattr(answer, "status", 1)


SUBJECTS = {
    "limits": limits,
    "buckets": buckets,
    "policies": policies,
    "windows": windows,
    "finished": finished,
    "paces": paces,
    "memos": memos,
    "words": words,
}
