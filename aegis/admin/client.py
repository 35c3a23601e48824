"""The verbs over the admin socket: `Control` for the commands and for `aegis top`. Blocks its own greenlet only."""

import http.client
import socket
from collections.abc import Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from aegis.config.listen import ListenAddress, parse_listen
from aegis.control import Reloaded, UnknownBackendError, VerbError
from aegis.events import Event
from aegis.metrics.snapshot import Snapshot

T = TypeVar("T")

PATIENCE: Final = 5.0
"""Seconds that each step of a question may take."""

LONG_PATIENCE: Final = 60.0
"""The same for a reload, which resolves every backend's name."""

LARGEST_ANSWER: Final = 64 * 1024 * 1024
OK: Final = 200
NOT_FOUND: Final = 404


class UnreachableError(Exception):
    """Nobody answers there as Aegis would. The words name the address and say what happened."""


class _Message(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: str


class AdminClient:
    """`Control` of the Aegis whose admin listener is at `text`: host:port or unix:/path.

    Every verb may raise UnreachableError too. A connection lasts for one question, so that nothing is left to be
    found broken after the other side has restarted. Raises ValueError for what is no address.
    """

    def __init__(self, text: str, patience: float = PATIENCE) -> None:
        self.text = text
        self._address = parse_listen(text)
        self._patience = patience

    def __repr__(self) -> str:
        return f"<AdminClient of {self.text}>"

    def snapshot(self) -> Snapshot:
        """See Control."""
        return self._ask("GET", "/snapshot", Snapshot)

    def events(self, after: int = 0) -> Sequence[Event]:
        """See Control."""
        return self._ask("GET", f"/events?after={after}", list[Event])

    def drain(self, backend: str) -> str:
        """See Control."""
        return self._ask("POST", f"/backends/{quote(backend, safe='')}/drain", _Message).message

    def resume(self, backend: str) -> str:
        """See Control."""
        return self._ask("POST", f"/backends/{quote(backend, safe='')}/resume", _Message).message

    def reload(self) -> Reloaded:
        """See Control."""
        return self._ask("POST", "/reload", Reloaded, max(LONG_PATIENCE, self._patience))

    def _ask(self, method: str, target: str, kind: type[T], patience: float = 0.0) -> T:
        status, body = self._exchange(method, target, patience or self._patience)
        try:
            if status == OK:
                return msgspec.json.decode(body, type=kind)
            words = msgspec.json.decode(body, type=_Refusal).error
        except msgspec.DecodeError as error:
            raise UnreachableError(f"what answers at {self.text} is no Aegis of this version: {error}") from error
        raise UnknownBackendError(words) if status == NOT_FOUND else VerbError(words)

    def _exchange(self, method: str, target: str, patience: float) -> tuple[int, bytes]:
        connection = _Connection(self._address, patience)
        try:
            connection.request(method, target, headers=_fields(self._address, self.text))
            response = connection.getresponse()
            return response.status, response.read(LARGEST_ANSWER)
        except TimeoutError as error:
            raise UnreachableError(f"Aegis at {self.text} did not answer within {patience:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(f"no Aegis answers at {self.text}: {words}") from error
        finally:
            connection.close()


def _fields(address: ListenAddress, text: str) -> dict[str, str]:
    return {"Host": "localhost" if address.path else text, "X-Aegis": "1", "Connection": "close"}


class _Connection(http.client.HTTPConnection):
    """The standard library's, over either kind of socket."""

    def __init__(self, address: ListenAddress, patience: float) -> None:
        super().__init__(address.host or "localhost", address.port or None, timeout=patience)
        self._address = address
        self._patience = patience

    def connect(self) -> None:
        """Dial; the patience holds for this step, too."""
        path = self._address.path
        if not path:
            super().connect()
            return
        sock: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._patience)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
