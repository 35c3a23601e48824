"""The one table of all that runs beside requests."""

from collections.abc import Callable
from typing import Final

from aegis.background import Job
from aegis.config.schema import Config
from aegis.net.deadlines import sweep_interval

MEMO_ROTATION: Final = 60.0
LOG_BATCH: Final = 0.1
RECORD_BATCH: Final = 0.5
LOOK: Final = 1.0
"""Most seconds from one snapshot to the next; a dashboard that repaints more often gets them more often."""


def job_table(
    config: Config,
    *,
    sweep: Callable[[], None],
    rotate: Callable[[], None],
    flush: Callable[[], None],
    purge: Callable[[], None],
    decide: Callable[[], None],
    record: Callable[[], None],
    observe: Callable[[], None],
) -> tuple[Job, ...]:
    """Every job with its interval in seconds."""
    server, transport = config.server, config.transport
    timeouts = (
        server.read_timeout,
        server.write_timeout,
        server.idle_timeout,
        transport.response_header_timeout,
        transport.read_timeout,
        transport.idle_conn_timeout,
    )
    return (
        Job("deadlines", sweep_interval(timeouts), sweep),
        Job("rotate memos", MEMO_ROTATION, rotate),
        Job("write logs", LOG_BATCH, flush),
        Job("purge buckets", config.rate_limit.cleanup_interval, purge),
        Job("adaptive", config.adaptive.evaluation_interval, decide),
        Job("write record", RECORD_BATCH, record),
        Job("observe", min(LOOK, config.tui.refresh_interval), observe),
    )
