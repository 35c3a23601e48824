"""The man page, from the commands as click knows them. roff without a macro beyond man(7)."""

from collections.abc import Iterator

import click

from aegis.cli import DEFAULT_CONFIG, main
from aegis.version import __version__

EXIT_CODES = (
    ("0", "A clean stop. status: Aegis is ready. check: the file is right."),
    ("1", "A forced or failed stop. status: not ready. Other commands: refused, or nobody answered."),
    ("2", "A usage or configuration error; the message names file, line, key and value. Nothing was opened."),
)
SIGNALS = (
    ("SIGTERM, SIGINT, SIGQUIT", "Stop: requests in flight end within server.shutdown_timeout. A second one forces."),
    ("SIGHUP", "Read, check and apply the configuration file. One that is not right changes nothing."),
    ("SIGUSR1", "Reopen log and record files."),
    ("SIGUSR2", "Let the program as it is on disk take over under the same PID; the old one drains."),
)
ENVIRONMENT = (
    ("AEGIS_ADMIN", "Where --connect is left out: the address of the admin listener."),
    ("NO_COLOR", "Draw the dashboard without colours."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS", "Set by systemd; see systemd.service(5) and systemd.socket(5)."),
)
FILES = (
    ("aegis.yml", "The configuration file unless -c names another one. aegis schema prints its JSON Schema."),
    ("/etc/aegis/aegis.yml", "Where the shipped service files look for it."),
)


def man_page() -> str:
    """`conf/man/aegis.1`."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    context = click.Context(main, info_name="aegis", **main.context_settings)
    yield f'.TH AEGIS 1 "" "Aegis {__version__}" "User Commands"'
    yield from (".SH NAME", r"aegis \- a reverse proxy for one pool of HTTP services", ".SH SYNOPSIS")
    yield from (_synopsis(context), ".br", r".B aegis \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]...")
    yield from (".SH DESCRIPTION", _text(main.help or ""), ".SH OPTIONS")
    yield from _options(main, context)
    yield ".SH COMMANDS"
    for name, command in main.commands.items():
        if not command.hidden:
            yield from _command(name, command, context)
    for title, rows in (
        ("EXIT STATUS", EXIT_CODES),
        ("SIGNALS", SIGNALS),
        ("ENVIRONMENT", ENVIRONMENT),
        ("FILES", FILES),
    ):
        yield f".SH {title}"
        for term, words in rows:
            yield from (".TP", f".B {_text(term)}", _text(words))


def _synopsis(context: click.Context) -> str:
    return rf".B aegis \fR{_text(' '.join(main.collect_usage_pieces(context)[:1]))}"


def _command(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f".SS {_text(' '.join(['aegis', name, '[OPTIONS]', *arguments]))}"
    yield _text(command.help or "")
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield from (".TP", f".B {_text(record[0])}", _text(record[1]))


def _text(text: str) -> str:
    """As roff prints it unchanged: no line begins a request, hyphens are those of a command line."""
    words = " ".join(text.split()).replace(f"({DEFAULT_CONFIG})", DEFAULT_CONFIG)  # click's way with late defaults
    words = words.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{words}" if words.startswith((".", "'")) else words
