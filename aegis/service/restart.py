"""Before a new image takes over: does it accept the configuration, and can it have the addresses that are new?

Afterwards is too late: once it has been executed under our PID there is no way back to this image.
"""

import os
import socket
import sys
from collections.abc import Collection, Iterator

from gevent import monkey
from msgspec.structs import replace

from aegis.admin.listener import obstacles
from aegis.config import load
from aegis.config.errors import ConfigErrors
from aegis.config.listen import parse_listen
from aegis.config.schema import Config
from aegis.process.handover import Check
from aegis.process.listeners import ACTIVATED, name_of
from aegis.service.admin import name_of_admin
from aegis.service.limits import count_of
from aegis.service.source import Source


def begin_check(source: Source, workers: int, held: Collection[str]) -> Check | str:
    """Run the program as it is on disk now over the configuration; in words why that is no use or not possible.

    held: the names under which this image's listeners would be handed on.
    """
    words = _objections(source, workers, held)
    if words:
        return words
    try:
        return Check(_arguments(source))
    except OSError as error:
        return str(error)


def _objections(source: Source, workers: int, held: Collection[str]) -> str:
    """Why a new image could not listen as its configuration wants it to; "" when it can."""
    if not source.file:
        return ""
    try:
        config = load.load_file(source.file, os.environ)
    except ConfigErrors as errors:
        return str(errors)
    wanted = count_of(config)
    if wanted != workers:
        # The kernel deals clients out by the places of the listeners, which are those of this image.
        return f"server.workers is {workers} here and {wanted} there: stop and start Aegis"
    return "; ".join(_taken(config, held))


def _taken(config: Config, held: Collection[str]) -> Iterator[str]:
    """The addresses that are new and cannot be had, each with why."""
    server, admin = config.server, config.admin
    clients = name_of(server.host, server.port)
    if not {ACTIVATED, clients, f"{clients} worker 0"} & set(held):
        yield from _unbindable("server.host and server.port", server.host, server.port)
    for key in ("listen", "health_listen"):
        text = getattr(admin, key)
        if not text or name_of_admin(key, text) in held:
            continue
        address = parse_listen(text)
        if address.path:
            alone = replace(admin, listen="", health_listen="")
            yield from (f"{each.path}: {each.message}" for each in obstacles(replace(alone, **{key: text})))
        else:
            yield from _unbindable(f"admin.{key}", address.host, address.port)


def _unbindable(key: str, host: str, port: int) -> Iterator[str]:
    # The original: gevent's would leave the close to a loop, and the parent of several processes has none.
    make = monkey.get_original("socket", "socket")
    host = "127.0.0.1" if host == "localhost" else host
    with make(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            yield f"{key}: {host}:{port} cannot be had: {error.strerror}"


def _arguments(source: Source) -> list[str]:
    """The command that checks: the program as it is on disk now, over the configuration."""
    return [*_program(), *(["check", "--config", source.file] if source.file else ["--version"])]


def _program() -> list[str]:
    """How this program was started, without its own arguments."""
    own = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - own]]
