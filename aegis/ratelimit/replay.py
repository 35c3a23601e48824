"""Recorded ticks through the same decision again, with other settings. Pure, and what `aegis simulate` is made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from aegis.config.schema import Adaptive
from aegis.ratelimit.decide import Decision, LoopState, clamped, decide, number
from aegis.ratelimit.record import Entry, from_line


class ReplayError(ValueError):
    """The record cannot be replayed. `line` counts from 1; 0 = all of it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Step(Struct, frozen=True):
    """One tick: as it was recorded, and what the other settings make of it."""

    entry: Entry
    state: LoopState  # after the replayed decision
    decision: Decision
    fresh: bool  # the recorded rate did not follow from the tick before: a start or a reload


def entries_of(lines: Iterable[bytes]) -> list[Entry]:
    """The entries of a record. Raises ReplayError for the first line that is none, and where there are none at all."""
    entries = list[Entry]()
    for line, text in enumerate(lines, 1):
        try:
            entries.append(from_line(text))
        except ValueError as error:
            raise ReplayError(line, f"is no recorded tick: {error}") from None
    if not entries:
        raise ReplayError(0, "holds no ticks; set adaptive.record and let the proxy run for a while")
    return entries


def replay(entries: Sequence[Entry], changes: Mapping[str, Any]) -> Iterator[Step]:
    """What the loop would have decided. changes: values of `adaptive` instead of the recorded ones.

    The latencies stay those of the record: what another rate would have made of them nobody knows. Where the record
    itself starts afresh, at a start or a reload, so does the replay. Raises ReplayError for bounds that the configured
    rate does not lie within, as the configuration's check would.
    """
    state: LoopState | None = None
    recorded: LoopState | None = None
    for line, entry in enumerate(entries, 1):
        settings = replace(entry.settings, **changes)
        _check(line, settings, entry.configured_rate)
        fresh = recorded is not None and recorded != entry.before
        if state is None or fresh:
            state = entry.before
        state = replace(state, rate=clamped(state.rate, settings))
        state, decision = decide(state, entry.tick, settings, entry.configured_rate)
        recorded = entry.after
        yield Step(entry, state, decision, fresh)


def _check(line: int, settings: Adaptive, configured_rate: float) -> None:
    low, high = settings.min_rate, settings.max_rate
    if not low <= configured_rate <= high:
        words = f"the configured rate {number(configured_rate)} is not within min_rate {number(low)}"
        raise ReplayError(line, f"{words} and max_rate {number(high)}")
