"""The verbs of a running instance. Done once in process and once over the admin listener.

Dashboard, admin app, `aegis top`, the commands and the signals know only this.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from aegis.events import Event
from aegis.metrics.snapshot import Snapshot


class VerbError(Exception):
    """The verb could not be done; the words say why and what would be right. Nothing was changed."""


class UnknownBackendError(VerbError):
    """No backend has that name."""


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload did. Keys are given as `Change` prints them: `rate_limit.burst: 150 → 200`."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Control(Protocol):
    """What may be asked of a running Aegis. Every verb may be called from any greenlet."""

    def snapshot(self) -> Snapshot:
        """The latest snapshot, at most a refresh interval old."""

    def events(self, after: int = 0) -> Sequence[Event]:
        """The events after that number that are still remembered, the oldest first."""

    def drain(self, backend: str) -> str:
        """Give a backend no new requests; returns one line of words. Raises VerbError, UnknownBackendError."""

    def resume(self, backend: str) -> str:
        """Take that back; returns one line of words. Raises VerbError, UnknownBackendError."""

    def reload(self) -> Reloaded:
        """Read the configuration file and apply what can be. Raises VerbError; then nothing was changed."""
