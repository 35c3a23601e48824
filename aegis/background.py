"""Named greenlets that run a table of jobs: restart a crashed one with its reason logged, cancel and join all."""

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

import gevent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs every `interval` seconds, start to start, ± `jitter` as a share of it.

    first: seconds until the first run; None = one interval.
    """

    name: str
    interval: float
    run: Callable[[], None]
    jitter: float = 0.0
    first: float | None = None


class Background:
    """Runs jobs, each in its own greenlet. `lateness`: by how many seconds the last run of each was late."""

    def __init__(self, jobs: Iterable[Job], lateness: dict[str, float] | None = None) -> None:
        self.jobs = tuple(jobs)
        self.lateness = {} if lateness is None else lateness
        self.greenlets: list[gevent.Greenlet[..., None]] = []

    def __repr__(self) -> str:
        return f"<Background {', '.join(job.name for job in self.jobs)}>"

    def start(self) -> None:
        """Start every job's greenlet."""
        for job in self.jobs:
            greenlet = gevent.spawn(self._repeat, job)
            greenlet.name = job.name
            self.greenlets.append(greenlet)

    def stop(self) -> None:
        """Cancel every greenlet and wait until it is gone."""
        gevent.killall(self.greenlets)
        self.greenlets.clear()

    def _repeat(self, job: Job) -> None:
        due = monotonic() + (_pause(job) if job.first is None else job.first)
        while True:
            gevent.sleep(max(0.0, due - monotonic()))
            self.lateness[job.name] = max(0.0, monotonic() - due)
            try:
                job.run()
            except Exception:
                log.exception("job %s failed and goes on", job.name)
            due = max(due + _pause(job), monotonic())


def _pause(job: Job) -> float:
    return job.interval * (1 + random.uniform(-job.jitter, job.jitter))  # noqa: S311
