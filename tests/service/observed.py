"""Parts as a start makes them, with nothing started, and an observer of them on a clock of the test."""

from __future__ import annotations

from types import SimpleNamespace

from aegis.config.load import load_text
from aegis.pool.backend import Backend
from aegis.pool.health import Condition
from aegis.service.build import build
from aegis.service.observe import Observed, Observer
from aegis.transport.resolver import Address
from tests.support.clock import ManualClock

CONFIG = """
backends:
  - {url: "http://10.0.0.5:80", name: a, weight: 1}
  - {url: "http://10.0.0.6:80", name: b, weight: 2}
  - {url: "http://10.0.0.7:80", name: idle, weight: 0}
"""


class Watched:
    """`parts`, and `observer` of them, serving."""

    def __init__(self, text=CONFIG):
        config = load_text(text, "aegis.yml", {})
        backends = [
            Backend(each.name, each.scheme, each.host, each.port, each.weight, (Address(each.host, each.port),))
            for each in config.backends
        ]
        self.clock = ManualClock()
        self.parts = parts = build(config, backends)
        self.lateness = {}
        self.observer = Observer(
            config,
            Observed(
                parts.backends, parts.limiter, parts.adaptive, parts.counters, parts.writer, parts.events, self.lateness
            ),
            self.clock,
        )
        self.observer.stage = "serving"
        for state in parts.backends:
            state.health.condition = Condition.UP  # the first round of probes is over

    def state(self, name):
        (found,) = [state for state in self.parts.backends if state.backend.name == name]
        return found

    def view(self, name):
        """How the snapshot of this moment shows a backend."""
        (found,) = [view for view in self.observer.collect().backends if view.name == name]
        return found

    def second(self):
        """One second later."""
        self.clock.advance(1)
        self.observer.tick()
        return self.observer.board.latest()

    def events(self, kind):
        return [event for event in self.parts.events.since() if event.kind == kind]

    def ended(self, **slots):
        """One exchange that ended."""
        known = {"status": 200, "method": "GET", "reason": "ok", "attempts": 1}
        self.parts.counters.ended(SimpleNamespace(**known | slots), 0.01)
