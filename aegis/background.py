"""Named greenlets that run a table of jobs: restart a crashed one with its reason logged, cancel and join all."""

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

import gevent
from gevent.event import Event as Flag

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs every `interval` seconds, start to start, ± `jitter` as a share of it.

    first: seconds until the first run; None = one interval. once: one process does it for all that serve together, and
    the image that took over for the old one.
    """

    name: str
    interval: float
    run: Callable[[], None]
    jitter: float = 0.0
    first: float | None = None
    once: bool = False


class Background:
    """Runs jobs, each in its own greenlet. `lateness`: by how many seconds the last run of each was late."""

    def __init__(self, jobs: Iterable[Job], lateness: dict[str, float] | None = None) -> None:
        self.jobs = tuple(jobs)
        self.lateness = {} if lateness is None else lateness
        self._runners: dict[str, _Runner] = {}
        self._started = False

    def __repr__(self) -> str:
        return f"<Background {', '.join(job.name for job in self.jobs)}>"

    @property
    def greenlets(self) -> list["gevent.Greenlet[..., None]"]:
        """Those that run now."""
        return [runner.greenlet for runner in self._runners.values()]

    def start(self) -> None:
        """Start every job's greenlet."""
        self._started = True
        self.reconfigure(self.jobs)

    def reconfigure(self, jobs: Iterable[Job]) -> None:
        """Run these jobs from now on. One that keeps its name is not interrupted in the middle of a run."""
        self.jobs = tuple(jobs)
        if not self._started:
            return
        names = {job.name for job in self.jobs}
        gone = [self._runners.pop(name).greenlet for name in list(self._runners) if name not in names]
        for name in self.lateness.keys() - names:
            del self.lateness[name]
        for job in self.jobs:
            runner = self._runners.get(job.name)
            if runner is None:
                self._runners[job.name] = _Runner(job, self.lateness)
            else:
                runner.reconfigure(job)
        gevent.killall(gone)

    def stop(self) -> None:
        """Cancel every greenlet and wait until it is gone."""
        self._started = False
        gevent.killall(self.greenlets)
        self._runners.clear()


class _Runner:
    """One job's greenlet. Another interval counts from the start of the last run."""

    def __init__(self, job: Job, lateness: dict[str, float]) -> None:
        self.job = job
        self._lateness = lateness
        self._changed = Flag()
        self.greenlet: gevent.Greenlet[..., None] = gevent.spawn(self._repeat)
        self.greenlet.name = job.name

    def reconfigure(self, job: Job) -> None:
        """Go on with another job of the same name."""
        if job.interval != self.job.interval:
            self._changed.set()
        self.job = job

    def _repeat(self) -> None:
        began = monotonic()
        due = began + (_pause(self.job) if self.job.first is None else self.job.first)
        while True:
            began = self._wait(began, due)
            self._lateness[self.job.name] = max(0.0, monotonic() - began)
            try:
                self.job.run()
            except Exception:
                log.exception("job %s failed and goes on", self.job.name)
            due = max(began + _pause(self.job), monotonic())

    def _wait(self, began: float, due: float) -> float:
        """Wait until the next run is due, counted anew from `began` when the interval changes; returns when it was."""
        self._changed.clear()
        while self._changed.wait(max(0.0, due - monotonic())):
            self._changed.clear()
            due = max(began + _pause(self.job), monotonic())
        return due


def _pause(job: Job) -> float:
    return job.interval * (1 + random.uniform(-job.jitter, job.jitter))  # noqa: S311
