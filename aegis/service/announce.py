"""What is said at start, by whichever process speaks for this Aegis, and the last touch before it serves."""

import gc
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from aegis.config.schema import Config
from aegis.service.parts import Parts
from aegis.version import __version__, is_compiled

if TYPE_CHECKING:
    from aegis.service.source import Source

log = logging.getLogger("aegis")


def announce(parts: Parts, source: "Source", max_connections: int, workers: int = 1, more: Iterable[str] = ()) -> None:
    """One INFO line, and one WARNING for each thing that is not as it was asked for; more: further ones."""
    config = parts.config
    log.info(
        "Aegis started",
        extra={
            "version": __version__,
            "compiled": is_compiled(),
            "listen": parts.observer.board.latest().listen,
            "workers": workers,
            "backends": [
                f"{each.backend.name} weight={each.backend.weight} at {', '.join(map(str, each.backend.addresses))}"
                for each in parts.backends
            ],
            "admin": config.admin.listen,
            "config": source.name,
            "opened_networks": _opened_networks(config),
        },
    )
    for words in (*_differences(config, max_connections), *more):
        log.warning(words)


def _differences(config: Config, max_connections: int) -> Iterator[str]:
    asked = config.server.max_connections
    if max_connections < asked:
        yield f"server.max_connections is {asked}, but the limit of open files admits {max_connections}: clamped"


def _opened_networks(config: Config) -> list[str]:
    opened = list(config.security.allowed_backend_networks)
    if config.development.allow_loopback_backends:
        opened.append("loopback (development.allow_loopback_backends)")
    return opened


def quiet_collector() -> None:
    """Take all that start made out of the collector's sight: a full pass with 10,000 connections would take 43 ms.

    Without a pass before: it would take 20 ms of the start, to find next to nothing.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
