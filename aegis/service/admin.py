"""The admin and health listeners of this process: made when the configuration asks for them, open while it serves."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Self

import gevent

from aegis.admin.app import AdminApp, Sources
from aegis.admin.listener import AdminListener, give_up, open_socket
from aegis.admin.stacks import all_stacks
from aegis.config.schema import Admin
from aegis.control import Control
from aegis.process.handover import Handed
from aegis.service.parts import Parts


class AdminListenError(Exception):
    """An admin address cannot be had."""


class AdminListeners:
    """None, one or two of them. Open within `with`; `start` lets them serve."""

    def __init__(self, parts: Parts, control: Control) -> None:
        admin = parts.config.admin
        self._handed = parts.handed
        self._listeners: dict[str, AdminListener] = {}
        self._closing = ExitStack()
        if not admin.listen and not admin.health_listen:
            return
        sources = Sources(parts.observer.missing, _metrics_of(parts), partial(_stacks_of, parts))
        for key, text in (("listen", admin.listen), ("health_listen", admin.health_listen)):
            if text:
                app = AdminApp(text, control, sources, health_only=key == "health_listen")
                self._listeners[key] = AdminListener(text, app, parts.deadlines)

    def __repr__(self) -> str:
        return f"<AdminListeners {list(self._listeners.values())}>"

    def __enter__(self) -> Self:
        """Open all of them, or none. Raises AdminListenError."""
        for key, listener in self._listeners.items():
            self._closing.callback(listener.close)
            try:
                listener.open(self._handed.listener(name_of_admin(key, listener.text)))
            except OSError as error:
                self._closing.close()
                raise AdminListenError(f"admin.{key} cannot be {listener.text}: {error}") from error
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closing.close()

    @property
    def names(self) -> list[str]:
        """Under which the sockets are handed on."""
        return list(self.sockets())

    def sockets(self) -> dict[str, socket.socket]:
        """What a new image takes over, by name."""
        return {
            name_of_admin(key, each.text): each.listener
            for key, each in self._listeners.items()
            if each.listener is not None
        }

    def leave(self) -> None:
        """Close, but leave the addresses to the image that has taken over."""
        for listener in self._listeners.values():
            listener.leave()

    def start(self) -> None:
        """Serve."""
        for listener in self._listeners.values():
            listener.start()


def name_of_admin(key: str, text: str) -> str:
    """The name under which an admin address's socket is handed on."""
    return f"admin.{key} at {text}"


def open_sockets(section: Admin, handed: Handed) -> dict[str, socket.socket]:
    """The sockets alone, by the names under which they are handed on. Raises AdminListenError; none is open then."""
    found: dict[str, socket.socket] = {}
    for key in ("listen", "health_listen"):
        text = getattr(section, key)
        if not text:
            continue
        try:
            found[name_of_admin(key, text)] = handed.listener(name_of_admin(key, text)) or open_socket(text)
        except OSError as error:
            for sock in found.values():
                give_up(sock)
            raise AdminListenError(f"admin.{key} cannot be {text}: {error}") from error
    return found


def _metrics_of(parts: Parts) -> Callable[[str], tuple[str, bytes]]:
    from aegis.admin.exposition import expose  # noqa: PLC0415 - late: only who has an admin listener pays for it

    def metrics(accept: str) -> tuple[str, bytes]:
        snapshot, states = parts.observer.collect(), parts.backends.states
        return expose(snapshot, parts.counters, states, accept, partial(gevent.sleep, 0.001))

    return metrics


def _stacks_of(parts: Parts) -> str:
    hub = gevent.get_hub()
    main = [] if hub.parent is None else [hub.parent]
    return all_stacks([hub, *main, *parts.background.greenlets])
