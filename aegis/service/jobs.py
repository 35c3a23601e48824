"""The one table of all that runs beside requests."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import gevent

from aegis.background import Job
from aegis.config.schema import Config
from aegis.net.deadlines import sweep_interval
from aegis.service.parts import Parts
from aegis.service.status import STATUS_INTERVAL

MEMO_ROTATION: Final = 60.0
LOG_BATCH: Final = 0.1
REAPING: Final = 1.0
RECORD_BATCH: Final = 0.5
LOOK: Final = 1.0
"""Most seconds from one snapshot to the next; a dashboard that repaints more often gets them more often."""
RESOLVE: Final = 1.0
PROBE_JITTER: Final = 0.1
"""Share of the interval: probes of many proxies and backends do not fall into step."""


def job_table(config: Config, parts: Parts) -> tuple[Job, ...]:
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
    observe = partial(parts.observer.tick, partial(gevent.sleep, 0.001))  # gives way to requests, as the purge does
    return (
        Job("deadlines", sweep_interval(timeouts), parts.deadlines.sweep),
        Job("rotate memos", MEMO_ROTATION, partial(_rotate, parts)),
        Job("write logs", LOG_BATCH, parts.writer.flush),
        Job("purge buckets", config.rate_limit.cleanup_interval, partial(parts.limiter.purge, gevent.idle)),
        Job("breakers", sweep_interval((config.circuit_breaker.open_timeout,)), parts.backends.tick),
        Job("resolve names", RESOLVE, parts.repinner.tick, once=True),
        Job("adaptive", config.adaptive.evaluation_interval, parts.adaptive.tick, once=True),
        Job("write record", RECORD_BATCH, parts.recorder.flush, once=True),
        Job("observe", min(LOOK, config.tui.refresh_interval), observe, once=True),
        Job("reap old images", REAPING, parts.old_images.reap, once=True),
        *_probes(parts),
        *_for_the_manager(parts),
    )


def _rotate(parts: Parts) -> None:
    parts.request_heads.memo.rotate()
    parts.response_heads.memo.rotate()


def _for_the_manager(parts: Parts) -> Iterator[Job]:
    notifier = parts.notifier
    if notifier:
        yield Job("status", STATUS_INTERVAL, lambda: notifier.status(parts.status()), once=True)
    if notifier.watchdog_interval:
        yield Job("watchdog", notifier.watchdog_interval, notifier.watchdog, once=True)


def _probes(parts: Parts) -> Iterator[Job]:
    """One job a backend: the first probe at once, then from start to start."""
    prober = parts.prober
    for state in parts.backends:
        yield Job(
            # Not the name alone: what a reload puts behind a name that stays is another backend, probed at once.
            f"probe {state.backend.name} at {state.backend.url}",
            prober.section.interval,
            partial(prober.probe, state),
            jitter=PROBE_JITTER,
            first=0.0,
            once=True,
        )
