"""The verbs, done in process."""

from collections.abc import Callable, Sequence

from aegis.control import Reloaded, UnknownBackendError, VerbError
from aegis.events import Event, Events, Kind
from aegis.metrics.snapshot import Board, Snapshot
from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends


class Verbs:
    """`Control` of this very process."""

    def __init__(self, backends: Backends, board: Board, events: Events, reload: Callable[[], Reloaded]) -> None:
        self._backends = backends
        self._board = board
        self._events = events
        self._reload = reload

    def __repr__(self) -> str:
        return f"<Verbs on {self._backends!r}>"

    def snapshot(self) -> Snapshot:
        """See Control."""
        return self._board.latest()

    def events(self, after: int = 0) -> Sequence[Event]:
        """See Control."""
        return self._events.since(after)

    def drain(self, backend: str) -> str:
        """See Control."""
        state = self._named(backend)
        if state.drained:
            return f"{backend} is drained already, {_in_flight(state)}"
        state.set_drained(drained=True)
        self._events.emit(Kind.DRAIN, f"{backend} is being drained", backend=backend, in_flight=state.in_flight)
        return f"{backend} gets no new requests, {_in_flight(state)}"

    def resume(self, backend: str) -> str:
        """See Control."""
        state = self._named(backend)
        if state.backend.weight == 0:
            raise VerbError(f"{backend} has weight 0 in the configuration: give it a weight and reload")
        if not state.drained:
            return f"{backend} is not drained"
        state.set_drained(drained=False)
        self._events.emit(Kind.RESUME, f"{backend} is resumed", backend=backend)
        return f"{backend} gets requests again"

    def reload(self) -> Reloaded:
        """See Control."""
        return self._reload()

    def _named(self, name: str) -> BackendState:
        for state in self._backends:
            if state.backend.name == name:
                return state
        known = ", ".join(state.backend.name for state in self._backends)
        raise UnknownBackendError(f"no backend is called {name}; there are: {known}")


def _in_flight(state: BackendState) -> str:
    return f"{state.in_flight} in flight"
