"""The command line: parses, loads the configuration, calls the service. Nothing else knows click."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

from aegis.config import load
from aegis.config.errors import ConfigError, ConfigErrors
from aegis.config.schema import Config
from aegis.version import __version__

if TYPE_CHECKING:
    from aegis.config.check import Fault
    from aegis.pool.backend import Backend

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_CONFIG = 2
DEFAULT_CONFIG = "aegis.yml"
LEVELS = ("debug", "info", "warn", "error")

config_option = click.option(
    "-c", "--config", "path", default=DEFAULT_CONFIG, show_default=True, help="The configuration file."
)
probe_option = click.option(
    "--probe", is_flag=True, help="Call every backend's health path too; exit 1 when one fails."
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", message="aegis %(version)s")
@config_option
@click.option("--backend", "backends", multiple=True, metavar="URL[@WEIGHT]", help="Run without a file; repeatable.")
@click.option("--headless", is_flag=True, help="No dashboard, whatever the configuration says.")
@click.option("--log-level", type=click.Choice(LEVELS), help="Overrides logging.level.")
@click.pass_context
def main(context: click.Context, path: str, backends: tuple[str, ...], headless: bool, log_level: str | None) -> None:  # noqa: FBT001
    """Aegis: a strict reverse proxy for a pool of HTTP services. Without a command it runs the proxy."""
    if context.invoked_subcommand is None:
        sys.exit(_run(path, backends, log_level, headless=headless))


@main.command()
@config_option
@probe_option
def check(path: str, probe: bool) -> None:  # noqa: FBT001
    """Validate the file as a start would, vet the backends, and print the effective configuration."""
    _check(path, probe=probe)


@main.command(hidden=True)
@config_option
@probe_option
def validate(path: str, probe: bool) -> None:  # noqa: FBT001
    """The same as check."""
    _check(path, probe=probe)


@main.command()
@click.argument("ticks", type=click.File("rb", lazy=False), metavar="TICKS.jsonl")
@click.option("--set", "changes", multiple=True, metavar="adaptive.KEY=VALUE", help="Another setting; repeatable.")
def simulate(ticks: BinaryIO, changes: tuple[str, ...]) -> None:
    """Replay what adaptive.record holds, with other settings: which rates the loop would have set. - is stdin."""
    _simulate(ticks, changes)


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from aegis.config.reference import json_schema  # late: a start does not need it

    click.echo(json.dumps(json_schema(), indent=2))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(main, {}, "aegis", "_AEGIS_COMPLETE").source())


def _run(path: str, backends: tuple[str, ...], log_level: str | None, *, headless: bool) -> int:
    from aegis.service import build, lifecycle, limits

    source = "--backend" if backends else path
    config, vetted = _or_exit(lambda: _named_on_the_command_line(backends) if backends else _from_file(path))
    if log_level is not None:
        config = load.with_log_level(config, log_level)
    cap = limits.admitted_connections(config.server.max_connections)
    try:
        parts = build.build(config, vetted, max_connections=cap)
        return lifecycle.Service(parts, source=source, headless=headless).run()
    except OSError as error:
        click.echo(f"aegis: cannot start on {config.server.host}:{config.server.port}: {error}", err=True)
        return EXIT_FAILED


def _from_file(path: str) -> "tuple[Config, list[Backend]]":
    """The configuration and its vetted backends; nothing is opened before both are right. Raises ConfigErrors."""
    from aegis.service.build import vet_backends

    vetted: list[Backend] = []

    def vet(config: Config) -> "list[Fault]":
        backends, faults = vet_backends(config)
        vetted.extend(backends)
        return faults

    return load.load_file(path, os.environ, vet), vetted


def _named_on_the_command_line(specs: tuple[str, ...]) -> "tuple[Config, list[Backend]]":
    """`--backend` opens exactly the networks of the addresses it names, and says so. Raises ConfigErrors."""
    from aegis.service.build import networks_of, vet_backends

    config = load.from_backends(specs)
    networks = networks_of(config)
    if networks:
        click.echo(f"aegis: --backend opens {', '.join(networks)}", err=True)
    config = load.with_networks(config, networks)
    vetted, faults = vet_backends(config)
    if faults:
        raise ConfigErrors([load.option_error(fault, specs) for fault in faults])
    return config, vetted


def _check(path: str, *, probe: bool) -> None:
    from aegis.config.reference import dump
    from aegis.service import limits

    config, vetted = _or_exit(lambda: _from_file(path))
    wanted = config.server.max_connections
    cap = limits.admitted_connections(wanted)
    if cap < wanted:
        click.echo(
            f"aegis: warning: server.max_connections is {wanted}, but the limit of open files admits {cap}", err=True
        )
    click.echo(dump(config), nl=False)
    if probe and not _probe(config, vetted):
        sys.exit(EXIT_FAILED)


def _probe(config: Config, vetted: "list[Backend]") -> bool:
    """Whether every backend passed; says of each what came of it."""
    from aegis.service.probing import probe_all

    results = probe_all(config, vetted)
    for each in results:
        click.echo(f"aegis: probe of {each}", err=True)
    return not any(each.error for each in results)


def _simulate(ticks: BinaryIO, changes: tuple[str, ...]) -> None:
    from aegis.config.override import adaptive_values
    from aegis.ratelimit import comparison, replay
    from aegis.ratelimit.record import DECIDING

    values = _or_exit(lambda: adaptive_values(changes, DECIDING))

    def replayed() -> "list[replay.Step]":
        try:
            return list(replay.replay(replay.entries_of(ticks), values))
        except replay.ReplayError as error:
            raise ConfigErrors([ConfigError(ticks.name, error.line, "", None, str(error))]) from None

    steps = _or_exit(replayed)
    columns = shutil.get_terminal_size().columns
    click.echo("\n".join(comparison.table(steps)))
    click.echo()
    click.echo("\n".join(comparison.plot(steps, columns)))
    click.echo()
    click.echo("\n".join(comparison.summary(steps)))
    click.echo("The latencies are those of the record: what another rate would have made of them is not simulated.")


def _or_exit(call: Callable[[], T]) -> T:
    try:
        return call()
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        sys.exit(EXIT_CONFIG)
