"""Snapshot and counters → the text that Prometheus reads, at the moment of the scrape.

Names and labels are a contract: whoever renames one breaks dashboards and alerts. No address, no path, nothing that a
client can choose stands in a label. Imported late: the library costs a start 30 ms.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from aegis.metrics.counters import Counters, Key
from aegis.metrics.histogram import BOUNDS, Histogram
from aegis.metrics.snapshot import BackendView, Snapshot
from aegis.pool.backend import BackendState
from aegis.pool.breaker import State

T = TypeVar("T")

UNITS: Final = ("seconds", "bytes", "ratio")
SAMPLES: Final = 256
"""Lines that are written in one go: 3 ms in which no request is served. All of 300 backends would take 100."""

SLICE: Final = 16
"""Backends that a family speaks of in one go."""

_END: Final = b"# EOF\n"
_LIMITS: Final = (*map(floatToGoString, BOUNDS), "+Inf")

_OF_A_BACKEND: Final[tuple[tuple[str, str, Callable[[BackendView], float]], ...]] = (
    ("aegis_backend_up", "Whether the probes pass: 0 when marked down.", lambda view: view.health != "down"),
    ("aegis_backend_eligible", "Whether it may be picked.", lambda view: view.eligible),
    ("aegis_backend_weight_ratio", "Share of its weight that it gets while it warms up.", lambda view: view.share),
    ("aegis_backend_in_flight", "Requests under way on it.", lambda view: view.in_flight),
)

Labelled = Iterable[tuple[tuple[str, ...], float]]


def expose(
    snapshot: Snapshot,
    counters: Counters,
    states: Sequence[BackendState],
    accept: str,
    pause: Callable[[], object],
) -> tuple[str, bytes]:
    """(content type, text) in the format that the client prefers. pause: called now and then, to let others run."""
    encode, content_type = choose_encoder(accept)
    pieces = list[bytes]()
    before, written = "", 0
    for family in families(snapshot, counters, states):
        piece = encode(_Alone(family)).removesuffix(_END)
        pieces.append(_samples_of(piece) if family.name == before else piece)
        before, written = family.name, written + len(family.samples)
        if written >= SAMPLES:
            written = 0
            pause()
    if "openmetrics" in content_type:
        pieces.append(_END)
    return content_type, b"".join(pieces)


class _Alone:
    """A registry of one family: the library writes all that a registry has in one go."""

    def __init__(self, family: Metric) -> None:
        self.family = family

    def collect(self) -> Iterable[Metric]:
        return (self.family,)


def _samples_of(piece: bytes) -> bytes:
    return b"".join(line for line in piece.splitlines(keepends=True) if not line.startswith(b"#"))


def families(snapshot: Snapshot, counters: Counters, states: Sequence[BackendState]) -> Iterator[Metric]:
    """Every metric of the contract."""
    yield from _requests(snapshot, counters)
    yield from _connections(snapshot)
    yield from _backends(snapshot.backends)
    yield from _counted_by_backends(states)
    yield from _limiter(snapshot)
    yield from _adaptive(snapshot, counters)
    yield from _process(snapshot, counters)


def _requests(snapshot: Snapshot, counters: Counters) -> Iterator[Metric]:
    yield counter(
        "aegis_requests",
        "Finished requests by status, method and reason.",
        ("code", "method", "reason"),
        map(_request, counters.requests.items()),
    )
    yield histogram(
        "aegis_request_duration_seconds",
        "From a request's head to the end of its answer.",
        (),
        [((), counters.durations)],
    )
    yield gauge("aegis_requests_in_flight", "Requests under way.", (), [((), snapshot.in_flight)])
    yield counter(
        "aegis_requests_aborted",
        "Messages broken off before their end, by the side that did it.",
        ("side",),
        _by_one(snapshot.aborted),
    )
    yield counter("aegis_retries", "Attempts on a backend after a request's first.", (), [((), snapshot.retries)])


def _request(item: tuple[Key, int]) -> tuple[tuple[str, ...], float]:
    (status, method, reason), count = item
    return (str(status), method, str(reason)), count


def _connections(snapshot: Snapshot) -> Iterator[Metric]:
    view = snapshot.connections
    yield gauge("aegis_open_connections", "Open connections of clients.", (), [((), view.open)])
    yield counter(
        "aegis_connections",
        "Connections accepted, idle ones closed to make room, and times that accepting paused at max_connections.",
        ("result",),
        _by_one({"accepted": view.accepted, "idle_evicted": view.idle_evicted, "paused": view.paused}),
    )
    yield gauge("aegis_accept_queue", "Connections that the kernel holds for us.", (), [((), view.accept_queue)])


def _backends(views: Sequence[BackendView]) -> Iterator[Metric]:
    for name, words, value in _OF_A_BACKEND:
        yield gauge(name, words, ("backend",), [((view.name,), float(value(view))) for view in views])
    for some in _slices(views):
        yield gauge(
            "aegis_breaker_state",
            "1 for the state that the circuit breaker is in, 0 for the others.",
            ("backend", "state"),
            [((view.name, state), float(view.breaker == state)) for view in some for state in State],
        )


def _counted_by_backends(states: Sequence[BackendState]) -> Iterator[Metric]:
    for some in _slices(states):
        yield histogram(
            "aegis_backend_response_seconds",
            "From the last byte of a request sent to the head of its response.",
            ("backend",),
            [((state.backend.name,), state.window.histogram) for state in some],
        )
    for some in _slices(states):
        yield counter(
            "aegis_breaker_transitions",
            "Changes of the circuit breaker's state, by where they led.",
            ("backend", "to"),
            [((state.backend.name, to), count) for state in some for to, count in state.breaker.to.items()],
        )
    for some in _slices(states):
        yield counter(
            "aegis_health_checks",
            "Probes by result.",
            ("backend", "result"),
            [
                ((state.backend.name, "pass" if passed else "fail"), count)
                for state in some
                for passed, count in state.probes.items()
            ],
        )


def _slices(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    """A family of many backends comes in slices of the same name."""
    return (whole[start : start + SLICE] for start in range(0, len(whole), SLICE))


def _limiter(snapshot: Snapshot) -> Iterator[Metric]:
    view = snapshot.limiter
    yield counter(
        "aegis_ratelimit_requests",
        "Requests that the rate limiter saw; shadow_limited ones were let through.",
        ("decision",),
        _by_one({"allowed": view.allowed, "limited": view.limited, "shadow_limited": view.shadow_limited}),
    )
    yield gauge("aegis_ratelimit_rate", "Requests per second and client, in force.", (), [((), view.rate)])
    yield gauge("aegis_ratelimit_tracked", "Clients that have a bucket.", (), [((), view.tracked)])
    yield counter("aegis_ratelimit_evictions", "Clients forgotten at max_entries.", (), [((), view.evictions)])


def _adaptive(snapshot: Snapshot, counters: Counters) -> Iterator[Metric]:
    p95 = snapshot.adaptive.p95_ms
    yield counter(
        "aegis_adaptive_decisions",
        "Decisions of the adaptive loop.",
        ("action", "reason"),
        counters.decisions.items(),
    )
    yield gauge(
        "aegis_adaptive_p95_seconds",
        "P95 of all healthy backends, as the loop saw it last.",
        (),
        [] if p95 is None else [((), p95 / 1000)],
    )


def _process(snapshot: Snapshot, counters: Counters) -> Iterator[Metric]:
    yield counter("aegis_config_reloads", "Reloads by result.", ("result",), _by_one(snapshot.reloads))
    yield counter("aegis_logs_dropped", "Log lines that nobody took in time.", (), [((), snapshot.logs_dropped)])
    yield counter("aegis_frames_skipped", "Frames that the terminal did not take.", (), [((), counters.frames_skipped)])
    yield gauge("aegis_hub_lag_seconds", "Lateness of the last deadline sweep.", (), [((), snapshot.hub_lag)])
    yield InfoMetricFamily("aegis_build", "The version that runs.", {"version": snapshot.version})
    yield from of_processes(snapshot.processes)


def of_processes(processes: Mapping[str, int]) -> Iterable[Metric]:
    """What the library tells of this process, or of each of several (name → PID), with the name as a label."""
    families: dict[str, Metric] = {}
    for name, pid in processes.items() or [("", os.getpid())]:
        labels = {"process": name} if name else {}
        for each in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            unit = _unit(each.name)
            family = families.setdefault(each.name, Metric(each.name, each.documentation, each.type, unit))
            for sample in each.samples:
                family.add_sample(sample.name, labels, sample.value)
    return families.values()


def _by_one(counts: Mapping[str, float]) -> Labelled:
    return (((name,), count) for name, count in counts.items())


def _unit(name: str) -> str:
    return next((unit for unit in UNITS if name.endswith(f"_{unit}")), "")


def counter(name: str, words: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """A counter; its samples are called `name_total`."""
    family = CounterMetricFamily(name, words, labels=labels, unit=_unit(name))
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, words: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """A gauge."""
    family = GaugeMetricFamily(name, words, labels=labels, unit=_unit(name))
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def histogram(
    name: str, words: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    """A histogram of seconds."""
    family = HistogramMetricFamily(name, words, labels=labels, unit=_unit(name))
    for label_values, samples in values:
        buckets = list(zip(_LIMITS, map(float, samples.cumulative), strict=True))
        family.add_metric(label_values, buckets, samples.seconds)
    return family
