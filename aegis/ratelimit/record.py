"""One tick of the adaptive loop as a line of JSON: all that its decision was made from, and what it was.

Every line stands for itself, so that a record may be cut, joined and rotated. Touches no file.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from aegis.config.schema import Adaptive
from aegis.ratelimit.decide import Action, Code, LoopState, Tick

DECIDING: Final = (
    "latency_threshold_ms",
    "reduction_factor",
    "recovery_factor",
    "min_rate",
    "max_rate",
    "min_samples",
    "grow",
)
"""The keys of `adaptive` that a decision depends on."""

Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(gt=0, le=1_000_000)]


class Entry(Struct, frozen=True, kw_only=True):
    """One tick. Of `settings` only the deciding keys and the mode are recorded; the others have their defaults."""

    time: Annotated[str, Meta(pattern=r"\A[0-9T:.Z+-]{1,40}\Z")]  # RFC 3339, UTC
    p95_ms: Annotated[float, Meta(ge=0)] | None
    samples: Count
    healthy_backends: Count
    limiter_refused: bool
    rate_before: Rate
    just_reduced: bool
    action: Action
    code: Code
    words: str
    rate_after: Rate
    configured_rate: Rate
    settings: Adaptive

    @property
    def tick(self) -> Tick:
        """What was seen."""
        return Tick(
            p95_ms=self.p95_ms,
            samples=self.samples,
            healthy_backends=self.healthy_backends,
            limiter_refused=self.limiter_refused,
        )

    @property
    def before(self) -> LoopState:
        """The state that the decision began with."""
        return LoopState(self.rate_before, self.just_reduced)

    @property
    def after(self) -> LoopState:
        """The state that it left."""
        return LoopState(self.rate_after, self.action is Action.REDUCE)


def to_line(entry: Entry) -> bytes:
    """The entry as one JSON object and a LF. Numbers are written so that they are read back exactly."""
    fields: dict[str, Any] = {name: getattr(entry, name) for name in entry.__struct_fields__}
    fields["settings"] = {name: getattr(entry.settings, name) for name in (*DECIDING, "mode")}
    return msgspec.json.encode(fields) + b"\n"


def from_line(line: bytes) -> Entry:
    """The entry of one line. ValueError says what is wrong with it."""
    return _decoder.decode(line)


def time_text(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decoded(kind: type, value: Any) -> Any:
    """Durations, the one type of a section that JSON does not know."""
    return kind(value)


_decoder: Final = msgspec.json.Decoder(Entry, dec_hook=_decoded)
