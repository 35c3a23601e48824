"""The command line: parses, loads the configuration, calls the service. Nothing else knows click."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

from aegis.config import load
from aegis.config.errors import ConfigError, ConfigErrors
from aegis.config.schema import Config
from aegis.version import __version__

if TYPE_CHECKING:
    from aegis.admin.client import AdminClient
    from aegis.pool.backend import Backend
    from aegis.service.source import Source

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_CONFIG = 2
DEFAULT_CONFIG = "aegis.yml"
LEVELS = ("debug", "info", "warn", "error")

FILE = click.Path(readable=False)
"""Shells complete file names. click itself refuses none of them: loading says what is wrong with one."""

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=FILE,
    metavar="FILE",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file.",
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


def _file_of_the_group() -> str:
    """`aegis -c FILE status` means the same as `aegis status -c FILE`."""
    parent = click.get_current_context().parent
    return str(parent.params["path"]) if parent is not None else DEFAULT_CONFIG


file_option = click.option(
    "-c",
    "--config",
    "path",
    type=FILE,
    metavar="FILE",
    default=_file_of_the_group,
    help=f"The configuration file.  [default: {DEFAULT_CONFIG}]",
)
connect_option = click.option(
    "--connect",
    "address",
    envvar="AEGIS_ADMIN",
    metavar="ADDR",
    help="Its admin listener: host:port or unix:/path.  [default: $AEGIS_ADMIN, else admin.listen of the file]",
)

against_option = click.option(
    "--against",
    type=FILE,
    metavar="FILE",
    help="The configuration that runs now: says what a reload would change of it.",
)


@main.command()
@file_option
@probe_option
@against_option
def check(path: str, probe: bool, against: str | None) -> None:  # noqa: FBT001
    """Validate the file as a start would, vet the backends, and print the effective configuration."""
    _check(path, probe=probe, against=against)


@main.command(hidden=True)
@file_option
@probe_option
@against_option
def validate(path: str, probe: bool, against: str | None) -> None:  # noqa: FBT001
    """The same as check."""
    _check(path, probe=probe, against=against)


@main.command()
@click.argument("ticks", type=click.File("rb", lazy=False), metavar="TICKS.jsonl")
@click.option("--set", "changes", multiple=True, metavar="adaptive.KEY=VALUE", help="Another setting; repeatable.")
def simulate(ticks: BinaryIO, changes: tuple[str, ...]) -> None:
    """Replay what adaptive.record holds, with other settings: which rates the loop would have set. - is stdin."""
    _simulate(ticks, changes)


@main.command()
@file_option
@connect_option
@click.option("--read-only", is_flag=True, help="Without the keys that change what clients get.")
def top(path: str, address: str | None, read_only: bool) -> None:  # noqa: FBT001
    """The dashboard of a running Aegis."""
    from aegis.service.screen import has_terminal

    if not has_terminal():
        click.echo("aegis: top needs a terminal on stdin and stdout, and TERM to name one; see status", err=True)
        sys.exit(EXIT_CONFIG)
    from aegis.service import top as service

    service.run(admin_client(path, address), read_only=read_only)


@main.command()
@file_option
@connect_option
def status(path: str, address: str | None) -> None:
    """How a running Aegis is doing; exit code 0 when it is ready, 1 when not."""
    from aegis.admin import commands

    sys.exit(_asked(path, address, lambda control: commands.status(control, click.echo)))


@main.command()
@click.argument("name")
@file_option
@connect_option
def drain(name: str, path: str, address: str | None) -> None:
    """Give a backend no new requests, and wait until it is empty."""
    from aegis.admin import commands

    sys.exit(_asked(path, address, lambda control: commands.drain(control, name, click.echo)))


@main.command()
@click.argument("name")
@file_option
@connect_option
def resume(name: str, path: str, address: str | None) -> None:
    """Let a drained backend have requests again."""
    from aegis.admin import commands

    sys.exit(_asked(path, address, lambda control: commands.resume(control, name, click.echo)))


@main.command()
@file_option
@connect_option
def reload(path: str, address: str | None) -> None:
    """Let a running Aegis read its file again."""
    from aegis.admin import commands

    sys.exit(_asked(path, address, lambda control: commands.reload(control, click.echo)))


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from aegis.config.reference import json_schema  # late: a start does not need it

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(main, {}, "aegis", "_AEGIS_COMPLETE").source())


def _run(path: str, backends: tuple[str, ...], log_level: str | None, *, headless: bool) -> int:
    from aegis.process import signals
    from aegis.service import limits
    from aegis.service.admin import AdminListenError
    from aegis.service.source import CommandLine, File

    limits.fill_standard_descriptors()
    source = CommandLine(backends, log_level) if backends else File(path, log_level)
    config, vetted = _or_exit(source.read_to_start)
    if isinstance(source, CommandLine) and source.networks:
        click.echo(f"aegis: --backend opens {', '.join(source.networks)}", err=True)
    signals.hold()  # before there is a thread
    try:
        if limits.count_of(config) > 1:
            return _run_several(source, config, vetted, headless=headless)
        return _run_one(source, config, vetted, headless=headless)
    except AdminListenError as error:
        click.echo(f"aegis: cannot start: {error}", err=True)
        return EXIT_FAILED
    except OSError as error:
        about = f"on {config.server.host}:{config.server.port}"
        if error.filename is not None and error.filename == config.logging.file:
            about = "with this logging.file"
        click.echo(f"aegis: cannot start {about}: {error}", err=True)
        return EXIT_FAILED


def _run_one(source: "Source", config: Config, vetted: "list[Backend]", *, headless: bool) -> int:
    from aegis.service.build import build
    from aegis.service.lifecycle import Service

    return Service(build(config, vetted), source, headless=headless).run()


def _run_several(source: "Source", config: Config, vetted: "list[Backend]", *, headless: bool) -> int:
    from aegis.service.several import Several

    return Several(source, config, vetted, headless=headless).run()


def _check(path: str, *, probe: bool, against: str | None) -> None:
    from aegis.config.reference import dump
    from aegis.service import limits
    from aegis.service.source import File

    config, vetted = _or_exit(File(path).read)
    wanted = config.server.max_connections
    cap = limits.admitted_connections(wanted)
    if cap < wanted:
        click.echo(
            f"aegis: warning: server.max_connections is {wanted}, but the limit of open files admits {cap}", err=True
        )
    click.echo(dump(config), nl=False)
    if against is not None:
        _compare(_or_exit(lambda: load.load_file(against, os.environ)), config)
    if probe and not _probe(config, vetted):
        sys.exit(EXIT_FAILED)


def _compare(running: Config, config: Config) -> None:
    """What a reload would do, as YAML comments below the configuration."""
    from aegis.config.diff import compare

    live, restart = compare(running, config)
    for title, changes in (("a reload would apply", live), ("only a restart would apply", restart)):
        click.echo(f"# {title}:{'' if changes else ' nothing'}")
        for change in changes:
            click.echo(f"#   {change}")


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


def _asked(path: str, address: str | None, ask: "Callable[[AdminClient], int]") -> int:
    """The exit code of a command that asks a running Aegis."""
    from aegis.admin.client import UnreachableError
    from aegis.control import VerbError

    try:
        return ask(admin_client(path, address))
    except (UnreachableError, VerbError) as error:
        click.echo(f"aegis: {error}", err=True)
        return EXIT_FAILED


def admin_client(path: str, address: str | None) -> "AdminClient":
    """The client of the admin listener at the address, else of the file's. Exits with 2 when there is none."""
    from aegis.admin.client import AdminClient

    if not address and not Path(path).exists():
        click.echo(f"aegis: there is no {path}: name a file with --config, or an address with --connect", err=True)
        sys.exit(EXIT_CONFIG)
    text = address or _or_exit(lambda: load.load_file(path, os.environ)).admin.listen
    if not text:
        click.echo(f"aegis: admin.listen is off in {path}: set it, or name an address with --connect", err=True)
        sys.exit(EXIT_CONFIG)
    try:
        return AdminClient(text)
    except ValueError as error:
        click.echo(f"aegis: --connect {text}: {error}", err=True)
        sys.exit(EXIT_CONFIG)


def _or_exit(call: Callable[[], T]) -> T:
    try:
        return call()
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        sys.exit(EXIT_CONFIG)
