"""The admin app: what may be asked of a running Aegis over HTTP. Plain WSGI on the strict wire.

Knows the verbs and the snapshot, never the parts behind them.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from aegis.config.listen import parse_listen
from aegis.context import KEY, Environ, RequestContext, StartResponse
from aegis.control import Control, UnknownBackendError, VerbError
from aegis.proxy.app import refuse
from aegis.reasons import Reason, phrase
from aegis.security.headers import SecurityHeaders

log = logging.getLogger(__name__)

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
READS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the app shows beside the verbs."""

    missing: Callable[[], str]  # what keeps this process from being ready
    metrics: Callable[[str], tuple[str, bytes]]  # Accept → (content type, text)
    stacks: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: bytes
    content_type: str = JSON
    allow: str = ""


class _NoReplyError(Exception):
    """The request cannot be answered as asked."""

    def __init__(self, status: int, words: str, allow: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.allow = allow


class AdminApp:
    """WSGI app of one admin address.

    listen: the address as configured; health_only: liveness, readiness and metrics, nothing else.
    """

    def __init__(self, listen: str, control: Control, sources: Sources, *, health_only: bool = False) -> None:
        self._control = control
        self._sources = sources
        self._hosts = Hosts(listen)
        self._pages: Mapping[str, Callable[[Environ], Reply]] = {
            "/livez": self._live,
            "/healthz": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }
        self._verbs: Mapping[str, Callable[[str], bytes]] = {}
        if not health_only:
            self._pages = {
                **self._pages,
                "/snapshot": self._snapshot,
                "/events": self._events,
                "/stacks": self._stacks,
            }
            self._verbs = {"drain": self._drain, "resume": self._resume, "reload": self._reload}

    def __repr__(self) -> str:
        return f"<AdminApp {', '.join(self._pages)}>"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        """PEP 3333."""
        return SecurityHeaders(self._app)(environ, start_response)

    def _app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        context: RequestContext = environ[KEY]
        if context.reason is not Reason.OK:
            return refuse(context, start_response)
        try:
            reply = self._reply(environ)
        except _NoReplyError as refusal:
            reply = Reply(refusal.status, _error(str(refusal)), allow=refusal.allow)
        except Exception:
            log.exception("a request to the admin listener failed", extra={"request_id": context.id})
            context.reason = Reason.INTERNAL_ERROR
            return refuse(context, _replacing(start_response))
        fields = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
        ]
        if reply.allow:
            fields.append(("Allow", reply.allow))
        start_response(f"{reply.status} {phrase(reply.status)}", fields)
        return [reply.body]

    def _reply(self, environ: Environ) -> Reply:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        page = self._pages.get(path)
        if page is not None:
            _must_be(method, READS)
            return page(environ)
        verb, backend = _verb_of(path)
        do = self._verbs.get(verb)
        if do is None:
            _must_be(method, (*READS, "POST"))  # no page has another, TRACE and CONNECT least of all
            raise _NoReplyError(404, "not found")
        _must_be(method, ("POST",))
        self._must_be_meant(environ)
        try:
            return Reply(200, do(backend))
        except UnknownBackendError as unknown:
            raise _NoReplyError(404, str(unknown)) from unknown
        except VerbError as refusal:
            raise _NoReplyError(409, str(refusal)) from refusal

    def _must_be_meant(self, environ: Environ) -> None:
        # [SECURITY] AdminPost: a page in a browser on this machine can send a form to a loopback port, but no field
        # of its own without asking first; and a name that was made to point here shows in Host.
        if environ.get("HTTP_X_AEGIS") != "1":
            raise _NoReplyError(403, "POST needs the field X-Aegis: 1")
        if not self._hosts.allow(environ.get("HTTP_HOST", "")):
            raise _NoReplyError(403, f"POST needs the Host {self._hosts}")

    # pages

    def _live(self, _environ: Environ) -> Reply:
        return Reply(200, _json({"live": True}))

    def _ready(self, _environ: Environ) -> Reply:
        missing = self._sources.missing()
        return Reply(503 if missing else 200, _json({"ready": not missing, "missing": missing}))

    def _metrics(self, environ: Environ) -> Reply:
        content_type, text = self._sources.metrics(environ.get("HTTP_ACCEPT", ""))
        return Reply(200, text, content_type)

    def _snapshot(self, _environ: Environ) -> Reply:
        return Reply(200, _json(self._control.snapshot()))

    def _events(self, environ: Environ) -> Reply:
        after = parse_qs(environ["QUERY_STRING"]).get("after", ["0"])[-1]
        if not (after.isascii() and after.isdecimal() and len(after) <= len(str(sys.maxsize))):
            raise _NoReplyError(400, "after must be the number of an event")
        return Reply(200, _json(self._control.events(int(after))))

    def _stacks(self, _environ: Environ) -> Reply:
        return Reply(200, self._sources.stacks().encode("utf-8", "backslashreplace"), TEXT)

    # verbs

    def _drain(self, backend: str) -> bytes:
        return _json({"message": self._control.drain(backend)})

    def _resume(self, backend: str) -> bytes:
        return _json({"message": self._control.resume(backend)})

    def _reload(self, _: str) -> bytes:
        return _json(self._control.reload())


class Hosts:
    """Which Host fields name the listen address: itself, `localhost` on a unix socket."""

    def __init__(self, listen: str) -> None:
        address = parse_listen(listen)
        self._host, self._port = address.host, address.port
        self._names = {self._host, "127.0.0.1"} if self._host == "localhost" else {self._host}
        self._any = self._host in ("0.0.0.0", "::")
        self._unix = bool(address.path)
        self._words = "localhost" if self._unix else listen

    def __str__(self) -> str:
        return self._words

    def allow(self, host: str) -> bool:
        """Whether the field's value is the listen address; with a wildcard, any address at its port: never a name."""
        name, port = _split(host.lower())
        if self._unix:
            return name == "localhost"
        if port != self._port:
            return False
        return _is_address(name) if self._any else name in self._names


def _split(host: str) -> tuple[str, int]:
    """(name without brackets, port, 80 unless given)."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, "80"
    return name.removeprefix("[").removesuffix("]"), int(port) if port.isascii() and port.isdecimal() else 0


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _verb_of(path: str) -> tuple[str, str]:
    """(verb, backend) of `/reload` and `/backends/NAME/VERB`; a verb that does not exist for all else."""
    if path == "/reload":
        return "reload", ""
    parts = path.split("/")
    is_of_backend = len(parts) == 4 and parts[:2] == ["", "backends"] and parts[3] != "reload"  # noqa: PLR2004 - "", backends, NAME, VERB
    return (parts[3], parts[2]) if is_of_backend else ("", "")


def _must_be(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise _NoReplyError(405, "method not allowed", ", ".join(allowed))


def _replacing(start_response: StartResponse) -> StartResponse:
    exc_info = sys.exc_info()

    def start(status: str, fields: Any) -> Any:
        return start_response(status, fields, exc_info)

    return start


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _error(words: str) -> bytes:
    return _json({"error": words})
