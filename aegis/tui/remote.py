"""What `aegis top` looks at: another process through its admin listener, asked once in a while, gone now and then."""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from aegis.control import Control, Reloaded, VerbError
from aegis.events import KEPT, Event
from aegis.metrics.snapshot import Snapshot
from aegis.tui.app import WaitingError
from aegis.tui.figures import duration


class Remote:
    """`Control` that answers from the last poll, so that a slow instance does not slow the keys down."""

    def __init__(
        self,
        control: Control,
        address: str,
        *,
        unreachable: type[Exception],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """unreachable: what `control` raises beside VerbError when nobody answers."""
        self._control = control
        self._unreachable = unreachable
        self._address = address
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._why = "not asked yet"
        self._since = clock()

    def __repr__(self) -> str:
        return f"<Remote {self._address} {'waiting' if self._snapshot is None else 'seen'}>"

    def poll(self) -> None:
        """Ask once. Runs as a job."""
        try:
            snapshot = self._control.snapshot()
            if self._snapshot is None or not snapshot.continues(self._snapshot):
                self._events.clear()  # another count
            after = self._events[-1].number if self._events else 0
            self._events.extend(self._control.events(after))
        except (VerbError, self._unreachable) as error:
            if self._snapshot is not None:
                self._since = self._clock()
            self._snapshot, self._why = None, str(error)
        else:
            self._snapshot = snapshot

    def snapshot(self) -> Snapshot:
        """The one polled last. Raises WaitingError when the last poll failed."""
        if self._snapshot is None:
            waited = duration(self._clock() - self._since)
            raise WaitingError(f"for Aegis at {self._address}: {waited} so far; {self._why}")
        return self._snapshot

    def events(self, after: int = 0) -> Sequence[Event]:
        """Those polled so far."""
        return [event for event in self._events if event.number > after]

    def drain(self, backend: str) -> str:
        """See Control; asked at once."""
        return self._ask(self._control.drain, backend)

    def resume(self, backend: str) -> str:
        """See Control; asked at once."""
        return self._ask(self._control.resume, backend)

    def reload(self) -> Reloaded:
        """See Control; asked at once."""
        return self._control.reload()

    def _ask(self, verb: Callable[[str], str], backend: str) -> str:
        try:
            return verb(backend)
        except self._unreachable as error:
            raise VerbError(str(error)) from error
