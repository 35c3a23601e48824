"""Backends without a connection, on a clock of the test."""

from __future__ import annotations

from aegis.config.schema import CircuitBreaker, HealthCheck
from aegis.events import Events
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.breaker import Breaker
from aegis.pool.health import Health
from aegis.transport.resolver import Address


class Connection:
    """What a request holds while its attempt runs."""

    def __init__(self):
        self.permit = 0


class Connections:
    """Stands for a backend's pool: counts what is out."""

    def __init__(self):
        self.out = 0
        self.retired = False

    def take(self):
        self.out += 1
        return Connection()

    take_fresh = take

    def park(self, connection):
        self.out -= 1

    discard = park

    def retire(self):
        self.retired = True


def backend(name, weight=1, address="192.0.2.1", port=80):
    return Backend(name, "http", f"{name}.test", port, weight, (Address(address, port),))


def make(clock, breaker=None, health=None, **fields):
    """The state of one backend."""
    breaker, health = breaker or CircuitBreaker(), health or HealthCheck()
    return BackendState(
        backend(**{"name": "a"} | fields), Connections(), breaker=Breaker(breaker, clock), health=Health(health)
    )


def pool(clock, names="ab", **sections):
    """(backends, their events)"""
    events = Events()
    return Backends([make(clock, name=name, **sections) for name in names], events, clock), events


def run(state, succeeded):
    """One attempt from take to give_back."""
    state.give_back(state.take(False), succeeded is True, succeeded)


def kinds(events):
    return [str(event.kind) for event in events.since()]
