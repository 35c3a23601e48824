"""Where the configuration comes from, and how it is read: at start, at a reload, and for a new image."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from aegis.admin.listener import obstacles
from aegis.config import load
from aegis.config.check import Fault
from aegis.config.diff import carried
from aegis.config.errors import ConfigErrors
from aegis.config.schema import Config
from aegis.pool.backend import Backend
from aegis.process import handover
from aegis.service.vetting import networks_of, vet_backends
from aegis.transport.resolver import Resolve, system_resolve


class Source(Protocol):
    """A configuration that can be read."""

    name: str  # as it is told: the file, or --backend
    text: str  # as it was read last
    file: str  # "" when there is none, so that nothing can be read again

    def read(self, running: Config | None = None, resolve: Resolve = system_resolve) -> tuple[Config, list[Backend]]:
        """The configuration and its vetted backends. Raises ConfigErrors; nothing was opened then.

        running: the one in force, whose keys that need a restart stay as they are.
        """

    def parse(self, text: str) -> Config:
        """A text that another process has read, checked and vetted."""

    def read_to_start(self) -> tuple[Config, list[Backend]]:
        """The same, and what has to be free for a start is looked at too. Raises ConfigErrors."""


class File:
    """A configuration file. log_level: from the command line, which outlives the file."""

    def __init__(self, path: str, log_level: str | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self.name = self.file = path
        self.text = ""
        self._log_level = log_level
        self._environ = environ

    def __repr__(self) -> str:
        return f"<File {self.file}>"

    def read(self, running: Config | None = None, resolve: Resolve = system_resolve) -> tuple[Config, list[Backend]]:
        """As Source.read."""
        return self._read(lambda config: carried(running, config) if running else config, resolve, load.no_more)

    def read_to_start(self) -> tuple[Config, list[Backend]]:
        """As Source.read_to_start."""
        # What the image before this one still has is ours next, and no obstacle.
        more = load.no_more if handover.VARIABLE in self._environ else _obstacles
        return self._read(lambda config: config, system_resolve, more)

    def _read(
        self, effective: Callable[[Config], Config], resolve: Resolve, more: load.Rule
    ) -> tuple[Config, list[Backend]]:
        vetted: list[Backend] = []

        def vet(config: Config) -> list[Fault]:
            backends, faults = vet_backends(effective(config), resolve)
            vetted.extend(backends)
            return [*faults, *more(config)]

        text = load.read_text(self.file)
        config = load.load_text(text, self.file, self._environ, vet)
        self.text = text
        return _at_level(config, self._log_level), vetted

    def parse(self, text: str) -> Config:
        """As Source.parse."""
        return _at_level(load.load_text(text, self.file, self._environ), self._log_level)


class CommandLine:
    """`--backend URL[@WEIGHT] …`. `networks`: those of the addresses it names, the only ones that are opened."""

    def __init__(self, specs: Sequence[str], log_level: str | None = None) -> None:
        self.name, self.file, self.text = "--backend", "", ""
        self.networks: tuple[str, ...] = ()
        self._specs = specs
        self._log_level = log_level

    def __repr__(self) -> str:
        return f"<CommandLine {' '.join(self._specs)}>"

    def read(self, running: Config | None = None, resolve: Resolve = system_resolve) -> tuple[Config, list[Backend]]:
        """As Source.read; there is nothing that could have changed."""
        del running
        config = load.from_backends(self._specs)
        self.networks = networks_of(config, resolve)
        config = load.with_networks(config, self.networks)
        vetted, faults = vet_backends(config, resolve)
        if faults:
            raise ConfigErrors([load.option_error(fault, self._specs) for fault in faults])
        return _at_level(config, self._log_level), vetted

    def read_to_start(self) -> tuple[Config, list[Backend]]:
        """As Source.read_to_start: it has no admin listener."""
        return self.read()

    def parse(self, text: str) -> Config:
        """As Source.parse: there is none."""
        raise AssertionError(text)


def _obstacles(config: Config) -> Iterable[Fault]:
    return obstacles(config.admin)


def _at_level(config: Config, level: str | None) -> Config:
    return config if level is None else load.with_log_level(config, level)
