"""Where the admin app listens: a loopback port or a unix socket, on the same strict wire as all else.

Knows addresses and sockets; what is answered there is the app's business.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aegis.config.check import Fault
from aegis.config.listen import ListenAddress, parse_listen
from aegis.config.schema import Admin
from aegis.context import Peer, WsgiApp
from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.wire.server import Server, WireSettings, open_listener

SETTINGS: Final = WireSettings(
    read_timeout=5.0,
    write_timeout=10.0,
    idle_timeout=60.0,
    max_header_bytes=8192,
    max_body_bytes=65_536,
    max_connections=128,
)

_LOCAL: Final = Peer("unix", "unix", b"", trusted=False)
_PROBE_PATIENCE: Final = 1.0
_BACKLOG: Final = 128


class AdminServer(Server):
    """The server of one admin address. Its app is no hot path: it gets the whole environ of PEP 3333."""

    def __init__(self, listener: Any, app: WsgiApp, deadlines: Deadlines) -> None:
        super().__init__(listener, app, SETTINGS, deadlines, RequestHeads())
        self.full_environ = True

    def waiting(self) -> int:
        """A unix socket does not tell how many wait: it is taken for one."""
        return 1 if self.socket.family == socket.AF_UNIX else super().waiting()

    def update_environ(self) -> None:
        """A unix socket has no port."""
        if self.socket.family != socket.AF_UNIX:
            super().update_environ()
            return
        self.environ.update({"SERVER_NAME": "localhost", "SERVER_PORT": "0"})

    def _peer_of(self, address: tuple[Any, ...]) -> Peer:
        return super()._peer_of(address) if address and self.socket.family != socket.AF_UNIX else _LOCAL


class AdminListener:
    """One address and its app: opened, started and closed by whoever runs the process."""

    def __init__(self, text: str, app: WsgiApp, deadlines: Deadlines) -> None:
        self.text = text
        self._address = parse_listen(text)
        self._app = app
        self._deadlines = deadlines
        self.listener: socket.socket | None = None
        self._server: AdminServer | None = None
        self._inode = 0

    def __repr__(self) -> str:
        return f"<AdminListener {self.text} {'open' if self.listener else 'closed'}>"

    def open(self, inherited: socket.socket | None = None) -> None:
        """Take the address. inherited: the socket of the image before this one. Raises OSError."""
        self.listener = inherited or open_socket(self.text)
        if self._address.path:
            self._inode = Path(self._address.path).stat().st_ino

    def start(self) -> None:
        """Serve. Must be open."""
        if self.listener is None:
            raise AssertionError("not open")
        self._server = AdminServer(self.listener, self._app, self._deadlines)
        self._server.start()

    def leave(self) -> None:
        """Stop serving; another process goes on with the address and its file."""
        self._inode = 0
        self.close()

    def close(self) -> None:
        """Stop serving and take the socket's file away, unless somebody else's lies there by now."""
        if self._server is not None:
            self._server.close()
            if self._server.pool is not None:
                self._server.pool.kill(timeout=1)
            self._server = None
        if self.listener is not None:
            self.listener.close()
            self.listener = None
            file = Path(self._address.path)
            with contextlib.suppress(FileNotFoundError):
                if self._address.path and file.stat().st_ino == self._inode:
                    file.unlink()


def open_socket(text: str) -> socket.socket:
    """The listening socket of an admin address. Raises OSError."""
    address = parse_listen(text)
    return open_unix(address.path) if address.path else open_listener(_numeric(address), address.port)


def give_up(listener: socket.socket) -> None:
    """Close a listening socket that nobody will serve on, and take its file away, if it has one."""
    path = listener.getsockname() if listener.family == socket.AF_UNIX else ""
    listener.close()
    if path and _kind(path) == "dead":  # not if somebody else listens there by now
        Path(path).unlink()


def _numeric(address: ListenAddress) -> str:
    return "127.0.0.1" if address.host == "localhost" else address.host


def open_unix(path: str) -> socket.socket:
    """A listening, non-blocking unix socket that only this user can connect to. Raises OSError.

    A file left behind by a process that is gone is removed.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _kind(path) == "dead":
            Path(path).unlink()
        # [SECURITY] AdminLocal: the mode is right from the first moment; a chmod after the bind would leave a gap in
        # which anyone could connect.
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def obstacles(admin: Admin) -> Iterator[Fault]:
    """What stands where a unix socket has to go, for a start to say before it opens anything."""
    for key in ("listen", "health_listen"):
        text = getattr(admin, key)
        path = parse_listen(text).path if text else ""
        if not path:
            continue
        kind = _kind(path)
        if kind == "living":
            yield Fault(f"admin.{key}", "another process answers there; stop it, or choose another path")
        elif kind == "file":
            yield Fault(f"admin.{key}", "is a file and no socket; remove it, or choose another path")
        elif not Path(path).parent.is_dir():
            yield Fault(f"admin.{key}", "its directory does not exist; create it, or choose another path")


def _kind(path: str) -> str:
    """What lies there: `nothing`, a `file` that is no socket, a `dead` socket, or a `living` one."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return "nothing"
    if not stat.S_ISSOCK(mode):
        return "file"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_PATIENCE)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return "dead"
        except OSError:
            return "living"  # it may not be ours to connect to, or too busy to answer: not ours to remove either
    return "living"
