"""What a probe's result means: health, warm-up, and the events that tell of them. When to probe is not its business."""

import logging
from collections.abc import Callable
from time import monotonic

from aegis.config.schema import HealthCheck
from aegis.events import Events, Kind
from aegis.pool import warmup
from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends
from aegis.pool.health import Condition
from aegis.pool.health import Event as HealthEvent
from aegis.pool.probe import ProbeFailedError
from aegis.pool.probe import probe as send_probe
from aegis.pool.warmup import FULL
from aegis.reasons import ExhaustedError

log = logging.getLogger(__name__)

SendProbe = Callable[[BackendState, HealthCheck], None]
"""One probe. Raises ProbeFailedError."""


def send(state: BackendState, section: HealthCheck) -> None:
    """One real probe. Raises ProbeFailedError."""
    send_probe(state.backend, state.connections, section)


class Prober:
    """Probes one backend at a time, as a job asks it to."""

    def __init__(
        self,
        backends: Backends,
        section: HealthCheck,
        events: Events,
        send: SendProbe = send,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.section = section
        self._backends = backends
        self._events = events
        self._send = send
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Prober GET {self.section.path} every {self.section.interval}>"

    def probe(self, state: BackendState) -> None:
        """One probe and what follows from it. Blocks for up to `health_check.timeout`."""
        state.probed_at = self._clock()
        try:
            self._send(state, self.section)
        except ProbeFailedError as failure:
            self.note(state, str(failure))
        except ExhaustedError as shortage:  # says nothing of the backend
            log.warning("a probe could not be sent", extra={"backend": state.backend.name, "error": shortage.detail})
        else:
            self.note(state, "")

    def note(self, state: BackendState, error: str) -> None:
        """Take over a result. error: why the probe failed, in words; "" when it passed."""
        passed = not error
        state.probes[passed] += 1
        state.health_error = error
        if not passed:
            state.suspect = True
        event = state.health.count(passed=passed)
        if event is not None:
            self._moved(state, event, error)
        elif state.healthy and state.share < FULL:
            self._warm(state, warmup.after_probe(state.share, passed=passed), error)

    def retry_after(self) -> int:
        """Whole seconds until a backend may be eligible again, as Retry-After wants them."""
        return self._backends.retry_after(self.section.interval)

    def reconfigure(self, section: HealthCheck) -> None:
        """Other settings from the next probe on; what was counted stays."""
        self.section = section
        for state in self._backends:
            state.health.reconfigure(section)

    def _moved(self, state: BackendState, event: HealthEvent, error: str) -> None:
        name = state.backend.name
        if state.health.condition is Condition.DOWN:
            state.set_healthy(healthy=False)
            self._events.emit(
                Kind.BACKEND_DOWN, f"{name} is down: {error}", level=logging.WARNING, backend=name, error=error
            )
            return
        if event is HealthEvent.PASSES_REACHED:  # a recovery, no first result
            state.share = warmup.after_recovery(alone=self._backends.alone(state))
        state.set_healthy(healthy=True)
        words = f"{name} is up" if state.share == FULL else f"{name} is up, warming up at {state.share:.0%}"
        self._events.emit(Kind.BACKEND_UP, words, backend=name, share=state.share)

    def _warm(self, state: BackendState, share: float, error: str) -> None:
        if share == state.share:
            return
        name = state.backend.name
        words = (
            f"{name} back to {share:.0%} of its weight: {error}" if error else f"{name} at {share:.0%} of its weight"
        )
        state.set_share(share)
        self._events.emit(Kind.WARM_UP, words, backend=name, share=share)
