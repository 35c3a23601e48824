"""One probe of every backend, once, for `aegis check --probe`. Nothing is served and nothing stays open."""

from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from gevent.pool import Pool

from aegis.config.schema import Config
from aegis.net.deadlines import Deadlines
from aegis.pool.backend import Backend
from aegis.pool.probe import ProbeFailedError, probe
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool

AT_ONCE: Final = 32
"""Probes under way together."""


class Probed(NamedTuple):
    """What came of one probe. error: why it failed, in words; "" when it passed."""

    backend: Backend
    error: str
    seconds: float

    def __str__(self) -> str:
        words = self.error or f"passed in {self.seconds * 1000:.0f} ms"
        return f"{self.backend.name}: {words}"


def probe_all(config: Config, backends: Sequence[Backend]) -> list[Probed]:
    """Probe each as the running proxy would, in the order of the configuration."""
    deadlines = Deadlines()
    return list(Pool(AT_ONCE).imap(lambda backend: _probe(config, backend, deadlines), backends))


def _probe(config: Config, backend: Backend, deadlines: Deadlines) -> Probed:
    dial = DialSettings(backend.addresses, config.transport.connect_timeout, deadlines)
    pool = open_pool(backend.url, dial, max_idle=1, idle_timeout=config.transport.idle_conn_timeout)
    started, error = monotonic(), ""
    try:
        probe(backend, pool, config.health_check)
    except ProbeFailedError as failure:
        error = str(failure)
    finally:
        pool.close()
    return Probed(backend, error, monotonic() - started)
