"""What each change costs those who are being served, in figures: one table of scenarios, with one process and several.

tests/blackbox/test_under_load.py asserts on them, scripts/under_load.py prints them.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import gevent

from tests.support.aegis_process import AegisProcess, config_for, refuses, run_aegis
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.proc import connections_of, workers_of
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer
from tests.support.several import DRAINED, SOURCES, STARTED, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.scripted_backend import Connection, Request

CLIENTS: Final = 16
SLOW: Final = 1.0
"""Seconds that an answer takes which is in flight when the stop comes."""

SECTIONS: Final = {
    # As shipped where it matters here, but for probes and breakers that find out sooner what has changed.
    "retry": {"budget_percent": 20, "min": 3},
    "circuit_breaker": {"failure_threshold": 5, "open_timeout": "500ms"},
    "health_check": {"interval": "1s", "timeout": "1s", "healthy_threshold": 1},
}


@dataclass(frozen=True)
class Figures:
    """What came of one scenario, in requests.

    retryable: without a byte of an answer, idempotent, and no backend has seen it: RFC 9112 §9.3.1 has the client send
    it again. lost: without an answer and none of that. failed: answered, but not as it should be. in_flight: most that
    a killed process had.
    """

    sent: int
    answered: int
    retryable: int
    failed: int
    lost: int
    in_flight: int = 0
    failures: tuple[str, ...] = ()


class Stage:
    """Aegis before three backends, and clients that ask it without pause."""

    def __init__(self, workers: int, methods: Sequence[str]) -> None:
        self.workers, self.methods = workers, methods
        self.in_flight = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.backends = [stack.enter_context(ScriptedBackend()) for _ in range(3)]
            self.spare = stack.enter_context(ScriptedBackend())
            self.admin = "{}:{}".format(*free_port())
            self.config = self._config(self.admin)
            self.aegis = stack.enter_context(self.another(self.config))
            self.load = stack.enter_context(
                Load(self.aegis.address, clients=CLIENTS, sources=SOURCES, methods=self.methods)
            )
            self.load.more()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _config(self, admin: str) -> dict[str, Any]:
        listen = {"listen": admin, "allow_remote": True} if admin else {}
        return config_for(self.backends, server={"workers": self.workers}, admin=listen, **SECTIONS)

    @contextmanager
    def another(self, config: Mapping[str, Any] | None = None) -> Iterator[AegisProcess]:
        """A running Aegis before the same backends."""
        with AegisProcess(config or self._config("")) as aegis:
            started(aegis)
            yield aegis

    def figures(self) -> Figures:
        """Ends the load."""
        load = self.load
        load.end()
        seen = {
            request.target
            for backend in (*self.backends, self.spare)
            for connection in backend.connections
            for request in connection.requests
        }
        retryable = sum(each.method == "GET" and each.target not in seen for each in load.unanswered)
        return Figures(
            sent=load.sent,
            answered=load.answered,
            retryable=retryable,
            failed=len(load.failures) - len(load.unanswered),
            lost=len(load.unanswered) - retryable,
            in_flight=self.in_flight,
            failures=tuple(load.failures),
        )


# the scenarios


def reload(stage: Stage) -> None:
    """A backend goes, another comes, and all is changed back, three times."""
    changed = [*stage.backends[1:], stage.spare]
    for _ in range(3):
        for backends in (changed, stage.backends):
            stage.aegis.reload({**stage.config, "backends": [{"url": each.url, "weight": 1} for each in backends]})
            stage.load.more()
    assert stage.spare.requests


def restart_backends(stage: Stage) -> None:
    """One after the other is killed with what it has in flight, and started again."""
    for backend in stage.backends:
        backend.stop_listening()
        stage.load.more(400)
        backend.listen_again()
        mark = backend.mark()
        eventually(mark.completed, f"requests at {backend.name} again", 10)
        stage.load.more()


def kill_worker(stage: Stage) -> None:
    """kill -9."""
    victim, *others = workers_of(stage.aegis)
    stage.in_flight = len(connections_of(victim, stage.aegis.address))
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: set(workers_of(stage.aegis)) - {victim, *others}, "a successor", 10)
    stage.load.more(1000)


def drain_backend(stage: Stage) -> None:
    """One after the other is drained by name, and resumed."""
    for backend in stage.backends:
        assert run_aegis("drain", backend.name, "--connect", stage.admin).returncode == 0
        gevent.sleep(0.1)  # until it is known to every worker
        mark = backend.mark()
        stage.load.more()
        assert mark.completed() == []
        assert run_aegis("resume", backend.name, "--connect", stage.admin).returncode == 0
        eventually(mark.completed, f"requests at {backend.name} again")


def stop(stage: Stage) -> None:
    """With slow requests in flight; clients go to a second Aegis once this one refuses them."""
    for backend in stage.backends:
        backend.on("/slow", slow)
    address = stage.aegis.address
    with stage.another() as second, ExitStack() as stack:
        stage.load.elsewhere = second.address
        clients = [stack.enter_context(RawClient(address, source=source)) for source in SOURCES[:10]]
        for client in clients:
            client.request("GET", "/slow")
        eventually(lambda: sum(len(each.asked("/slow")) for each in stage.backends) == len(clients), "all in flight")
        stage.aegis.signal(signal.SIGTERM)
        eventually(lambda: refuses(address), "connects refused")
        for client in clients:
            response = client.read_response()
            assert (response.status, response.body, response.tokens("Connection")) == (200, b"slow", {"close"})
        assert stage.aegis.wait() == 0
        assert stage.aegis.messages()[-1] == "Aegis shutdown complete"
        stage.load.more()
        assert stage.load.refused
        stage.load.end()
        assert second.stop() == 0


def slow(connection: Connection, _: Request) -> None:
    """A backend's answer that takes its time."""
    gevent.sleep(SLOW)
    connection.send(answer(body=b"slow"))


def restart(stage: Stage) -> None:
    """SIGUSR2, three times."""
    messages = stage.aegis.messages
    for number in range(1, 4):
        stage.aegis.signal(signal.SIGUSR2)
        eventually(lambda number=number: messages().count(STARTED) == number + 1, "the new image", 20)
        old = number * stage.workers
        eventually(lambda old=old: messages().count(DRAINED) == old, "the end of the old one", 15)
        stage.load.more()


@dataclass(frozen=True)
class Scenario:
    """A name for people, what happens, what the clients ask with, and with how many workers it is run."""

    name: str
    run: Callable[[Stage], None]
    methods: tuple[str, ...] = ("GET", "GET", "GET", "POST")
    workers: tuple[int, ...] = (1, 2)


SCENARIOS: Final = (
    Scenario("6 reloads, a backend comes and another goes", reload),
    Scenario("3 backends drained and resumed in turn", drain_backend),
    # A POST that a backend has begun to read may have done its work: whoever sends it again might do it twice.
    Scenario("3 backends killed and started again in turn", restart_backends, methods=("GET",)),
    Scenario("3 restarts by SIGUSR2", restart),
    Scenario("a stop with 10 slow requests in flight", stop),
    Scenario("`kill -9` of a worker", kill_worker, workers=(2,)),
)


def measured(scenario: Scenario, workers: int) -> Figures:
    """One run of one scenario."""
    with Stage(workers, scenario.methods) as stage:
        scenario.run(stage)
        return stage.figures()
