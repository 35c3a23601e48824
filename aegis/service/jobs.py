"""The one table of all that runs beside requests."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from aegis.background import Job
from aegis.config.schema import Config
from aegis.net.deadlines import sweep_interval
from aegis.pool.backend import BackendState
from aegis.pool.prober import Prober
from aegis.process.notify import Notifier

MEMO_ROTATION: Final = 60.0
LOG_BATCH: Final = 0.1
STATUS_INTERVAL: Final = 10.0
REAPING: Final = 1.0
RECORD_BATCH: Final = 0.5
LOOK: Final = 1.0
"""Most seconds from one snapshot to the next; a dashboard that repaints more often gets them more often."""
RESOLVE: Final = 1.0
PROBE_JITTER: Final = 0.1
"""Share of the interval: probes of many proxies and backends do not fall into step."""


def job_table(
    config: Config,
    *,
    sweep: Callable[[], None],
    rotate: Callable[[], None],
    flush: Callable[[], None],
    purge: Callable[[], None],
    breakers: Callable[[], None],
    resolve: Callable[[], None],
    decide: Callable[[], None],
    record: Callable[[], None],
    observe: Callable[[], None],
    probes: Iterable[Job],
    reap: Callable[[], None],
    notifier: Notifier,
    status: Callable[[], str],
) -> tuple[Job, ...]:
    """Every job with its interval in seconds."""
    server, transport = config.server, config.transport
    timeouts = (
        server.read_timeout,
        server.write_timeout,
        server.idle_timeout,
        transport.response_header_timeout,
        transport.read_timeout,
        transport.stream_idle_timeout,
        transport.idle_conn_timeout,
    )
    return (
        Job("deadlines", sweep_interval(timeouts), sweep),
        Job("rotate memos", MEMO_ROTATION, rotate),
        Job("write logs", LOG_BATCH, flush),
        Job("purge buckets", config.rate_limit.cleanup_interval, purge),
        Job("breakers", sweep_interval((config.circuit_breaker.open_timeout,)), breakers),
        Job("resolve names", RESOLVE, resolve, once=True),
        Job("adaptive", config.adaptive.evaluation_interval, decide, once=True),
        Job("write record", RECORD_BATCH, record, once=True),
        Job("observe", min(LOOK, config.tui.refresh_interval), observe, once=True),
        Job("reap old images", REAPING, reap, once=True),
        *probes,
        *_for_the_manager(notifier, status),
    )


def _for_the_manager(notifier: Notifier, status: Callable[[], str]) -> Iterator[Job]:
    if notifier:
        yield Job("status", STATUS_INTERVAL, lambda: notifier.status(status()), once=True)
    if notifier.watchdog_interval:
        yield Job("watchdog", notifier.watchdog_interval, notifier.watchdog, once=True)


def probe_jobs(states: Iterable[BackendState], prober: Prober) -> tuple[Job, ...]:
    """One job a backend: the first probe at once, then from start to start."""
    return tuple(
        Job(
            f"probe {state.backend.name}",
            prober.section.interval,
            partial(prober.probe, state),
            jitter=PROBE_JITTER,
            first=0.0,
            once=True,
        )
        for state in states
    )
