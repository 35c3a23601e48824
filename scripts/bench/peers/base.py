"""What a contestant is: a proxy that can be started in front of given backends on the proxy's core."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from scripts.bench import tools
from scripts.bench.children import Child, Children, cores, cpu_seconds, rss_mb
from tests.support.ports import unused_port


@dataclass(frozen=True, slots=True)
class Site:
    """What a contestant is to stand in front of. `settings` are for Aegis alone: section → keys."""

    backends: tuple[str, ...]  # host:port
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launch:
    """stdin and stdout as in Children.start."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: int = subprocess.DEVNULL
    stdout: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant at work."""

    name: str
    port: int
    child: Child
    workdir: Path

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.child.pids())

    def rss_mb(self) -> float:
        return rss_mb(self.child.pids())


class Contestant(ABC):
    """One kind of proxy."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()  # what has to be installed

    def obstacle(self) -> str | None:
        """Why it cannot take part here, or None."""
        absent = tools.missing(*self.programs)
        return f"{', '.join(absent)} not found" if absent else None

    @abstractmethod
    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        """The command that listens on 127.0.0.1:port; writes its configuration into workdir."""

    def start(self, children: Children, site: Site) -> Running:
        """Raises StartError when it does not come up."""
        port = unused_port()
        workdir = children.workdir / f"{self.name}-{port}"
        workdir.mkdir()
        launch = self.launch(site, port, workdir)
        child = children.start(
            self.name,
            launch.command,
            core=cores()[0],
            environment=launch.environment,
            stdin=launch.stdin,
            stdout=launch.stdout,
        )
        child.wait_until_answers(port, "/health")
        return Running(self.name, port, child, workdir)
