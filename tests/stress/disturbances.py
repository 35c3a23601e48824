"""What happens to Aegis and its backends while they are busy. One more disturbance is one more function in the table.

`plan` is pure: the same dice give the same steps. Each step is done by its function, and counted under its name.
"""

from __future__ import annotations

import os
import random
import re
import signal
import urllib.request
from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from aegis.admin.client import AdminClient, UnreachableError
from tests.stress.backends import MODES, WELL
from tests.support.aegis_process import _family
from tests.support.poll import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.stress.backends import StressBackend
    from tests.stress.ledger import Ledger
    from tests.support.aegis_process import AegisProcess

POLICIES = ("weighted_round_robin", "least_connections", "peak_ewma")
PATIENCE = 20.0
"""Seconds that Aegis may take to do what it is told."""


@dataclass(frozen=True)
class Step:
    """at: seconds since the round began. which: the backend's number; word: what to make of it."""

    at: float
    name: str
    which: int
    word: str

    def __str__(self) -> str:
        return f"{self.at:.1f} s {self.name} {self.which} {self.word}".rstrip()


class Stage:
    """Aegis, its backends, and what was done to them so far."""

    def __init__(self, aegis: AegisProcess, config: dict[str, Any], backends: Sequence[StressBackend]) -> None:
        self.aegis, self.config, self.backends = aegis, config, backends
        self.admin = AdminClient(config["admin"]["listen"], PATIENCE)
        self.workers: int = config["server"].get("workers", 1)
        self.done: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter()  # answers in the log: reload, reload_failed
        self.used = list(backends[:-1])
        self.drained: set[str] = set()
        self.starts = 0  # start lines in the log
        self.ledger: Ledger

    def hear(self, line: dict[str, Any]) -> None:
        """A line of Aegis's log that is no access line."""
        self.reloads[line.get("event", "")] += 1
        self.starts += line["message"] == "Aegis started"

    def greenlets(self) -> int:
        """Of the process that answers: with workers, the one that serves no client."""
        with urllib.request.urlopen(f"http://{self.admin.text}/stacks", timeout=PATIENCE) as response:
            text = response.read().decode()
        return sum(int(each) for each in re.findall(r"^(\d+) × ", text, re.MULTILINE))

    def begin(self, ledger: Ledger) -> None:
        self.ledger = ledger
        for backend in self.backends:
            backend.begin(ledger)

    def do(self, step: Step) -> None:
        self.done[step.name] += 1
        DISTURBANCES[step.name](self, step)

    def calm(self) -> None:
        """Everything back to how it began."""
        for backend in self.backends:
            backend.mode = WELL
            if not backend.running:
                backend.start()
        for name in list(self.drained):
            resume(self, name)
        self.used = list(self.backends[:-1])
        self.reload()

    def reload(self, text: str = "", **sections: dict[str, Any]) -> None:
        """Have a configuration read: the usual one with other sections, or `text` that is none."""
        if text:
            self.aegis.path.write_text(text)
        else:
            backends = [{"url": each.url, "weight": 1, "name": each.name} for each in self.used]
            self.aegis.write_config({**self.config, "backends": backends, **sections})
        due = "reload_failed" if text else "reload"
        before = self.reloads[due]
        self.aegis.signal(signal.SIGHUP)
        eventually(lambda: self.reloads[due] > before, f"{due} in the log", PATIENCE)

    def ask(self, verb: Callable[[str], str], backend: str) -> None:
        """A verb; control may have been killed a moment ago."""

        def asked() -> bool:
            try:
                verb(backend)
            except UnreachableError:
                return False
            return True

        eventually(asked, f"an answer to {verb.__name__} {backend}", PATIENCE)


def misbehave(stage: Stage, step: Step) -> None:
    stage.backends[step.which].mode = step.word


def kill_backend(stage: Stage, step: Step) -> None:
    stage.backends[step.which].kill()


def start_backend(stage: Stage, step: Step) -> None:
    if not stage.backends[step.which].running:
        stage.backends[step.which].start()


def change_backends(stage: Stage, step: Step) -> None:
    """One of them goes, or comes back."""
    backend = stage.backends[step.which]
    if backend not in stage.used:
        stage.used.append(backend)
    elif len(stage.used) > 1:
        stage.used.remove(backend)
        stage.drained.discard(backend.name)
    stage.reload()


def change_settings(stage: Stage, step: Step) -> None:
    limits = (
        {"requests_per_second": 1_000_000, "burst": 1_000_000}
        if step.which
        else {"requests_per_second": 50, "burst": 20}
    )
    stage.reload(
        balancing={"policy": step.word},
        rate_limit={**stage.config["rate_limit"], **limits},
        adaptive={**stage.config["adaptive"], "enabled": bool(step.which)},
    )


def spoil_file(stage: Stage, step: Step) -> None:
    stage.reload(text="server: {prot: 1}\n" if step.which else "[")


def drain(stage: Stage, step: Step) -> None:
    name = stage.backends[step.which].name
    if len(stage.drained) + 1 < len(stage.used) and stage.backends[step.which] in stage.used:
        stage.drained.add(name)
        stage.ask(stage.admin.drain, name)


def resume(stage: Stage, which: Step | str) -> None:
    name = which if isinstance(which, str) else stage.backends[which.which].name
    if name in stage.drained:
        stage.drained.discard(name)
        stage.ask(stage.admin.resume, name)


def reopen_logs(stage: Stage, step: Step) -> None:
    stage.aegis.signal(signal.SIGUSR1)


def restart(stage: Stage, step: Step) -> None:
    """A new image under the same PID; the old one drains beside what comes next. What was drained is forgotten."""
    stage.reload()  # a spoiled file would be refused
    stage.drained.clear()
    before = stage.starts
    stage.aegis.signal(signal.SIGUSR2)
    eventually(lambda: stage.starts > before, "the start of a new image", PATIENCE)


def kill_worker(stage: Stage, step: Step) -> None:
    """The parent's first child is control, unless that was killed: any of them will do."""
    children = _family(stage.aegis.process.pid)[1:]
    stage.ledger.kills.append(monotonic())
    os.kill(children[step.which % len(children)], signal.SIGKILL)
    stage.ledger.kills.append(monotonic())


DISTURBANCES: dict[str, Callable[[Stage, Step], None]] = {
    "misbehave": misbehave,
    "kill backend": kill_backend,
    "start backend": start_backend,
    "change backends": change_backends,
    "change settings": change_settings,
    "spoil file": spoil_file,
    "drain": drain,
    "resume": resume,
    "reopen logs": reopen_logs,
    "restart": restart,
    "kill worker": kill_worker,
}
SHARES = {"misbehave": 10, "start backend": 3, "kill backend": 2, "change settings": 2, "kill worker": 1}


def plan(rng: random.Random, seconds: float, backends: int, workers: int) -> list[Step]:
    """Steps for a round of this length."""
    names = [name for name in DISTURBANCES if workers > 1 or name != "kill worker"]
    shares = [SHARES.get(name, 1) for name in names]
    steps, at = [], 0.0
    while (at := at + rng.uniform(0.1, 0.6)) < seconds:
        name = rng.choices(names, shares)[0]
        word = {"misbehave": rng.choice(MODES), "change settings": rng.choice(POLICIES)}.get(name, "")
        steps.append(Step(at, name, rng.randrange(backends), word))
    return steps


def act(stage: Stage, steps: Sequence[Step], began: float) -> None:
    """Each at its time, or as soon as the one before it is done."""
    for step in steps:
        gevent.sleep(max(0.0, began + step.at - monotonic()))
        stage.do(step)
