"""The closed set of reasons why a response is what it is, and what each one means on the wire.

The only place with refusal statuses and public texts. The exceptions that carry a reason live here too, so that
every room can raise one and only the innermost app of the stack turns it into an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Final


class Reason(StrEnum):
    """Why a response is what it is. Every response has exactly one."""

    OK = "ok"
    BAD_REQUEST_LINE = "bad_request_line"
    BAD_FIELD = "bad_field"
    BAD_HOST = "bad_host"
    BAD_TARGET = "bad_target"
    BAD_FRAMING = "bad_framing"
    BAD_UPGRADE = "bad_upgrade"
    PATH_TRAVERSAL = "path_traversal"
    HOST_NOT_ALLOWED = "host_not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    CLIENT_SLOW = "client_slow"
    BODY_TOO_LARGE = "body_too_large"
    TARGET_TOO_LONG = "target_too_long"
    EXPECTATION_FAILED = "expectation_failed"
    RATE_LIMITED = "rate_limited"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL_ERROR = "internal_error"
    BAD_GATEWAY_CONNECT = "bad_gateway_connect"
    BAD_GATEWAY_RESET = "bad_gateway_reset"
    BAD_GATEWAY_PROTOCOL = "bad_gateway_protocol"
    BACKEND_TIMEOUT = "backend_timeout"
    NO_BACKEND = "no_backend"
    BACKEND_ABORTED = "backend_aborted"
    CLIENT_GONE = "client_gone"


OK: Final = Reason.OK
"""For the hot path: looking up a member of an enum costs as much as five other lines."""


class Blame(Enum):
    """Whose fault a reason is."""

    NOBODY = "nobody"
    CLIENT = "client"
    BACKEND = "backend"
    US = "us"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a refusal says: status, public text (empty = none is ever sent), blame, whether the connection closes."""

    status: int
    text: str
    blame: Blame
    close: bool = False

    @property
    def body(self) -> bytes:
        """The whole JSON body."""
        return b'{"error":"%b"}' % self.text.encode()

    @property
    def status_line(self) -> str:
        """Status and phrase as WSGI wants them: `404 Not Found`."""
        return f"{self.status} {phrase(self.status)}"


def phrase(status: int) -> str:
    """The standard reason phrase; for a status that the standard library does not know, a neutral one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def _client(status: int, text: str, *, close: bool = True) -> Answer:
    return Answer(status, text, Blame.CLIENT, close)


_BAD_REQUEST: Final = _client(400, "bad request")
_TIMEOUT: Final = _client(408, "request timeout")
_BAD_GATEWAY: Final = Answer(502, "bad gateway", Blame.BACKEND)

ANSWERS: Final[Mapping[Reason, Answer]] = MappingProxyType(
    {
        Reason.OK: Answer(200, "", Blame.NOBODY),
        Reason.BAD_REQUEST_LINE: _BAD_REQUEST,
        Reason.BAD_FIELD: _BAD_REQUEST,
        Reason.BAD_HOST: _BAD_REQUEST,
        Reason.BAD_TARGET: _BAD_REQUEST,
        Reason.BAD_FRAMING: _BAD_REQUEST,
        Reason.BAD_UPGRADE: _BAD_REQUEST,
        Reason.PATH_TRAVERSAL: _BAD_REQUEST,
        Reason.HOST_NOT_ALLOWED: _BAD_REQUEST,
        Reason.METHOD_NOT_ALLOWED: _client(405, "method not allowed", close=False),
        Reason.HEAD_TIMEOUT: _TIMEOUT,
        Reason.BODY_TIMEOUT: _TIMEOUT,
        Reason.CLIENT_SLOW: _TIMEOUT,
        Reason.BODY_TOO_LARGE: _client(413, "content too large"),
        Reason.TARGET_TOO_LONG: _client(414, "uri too long"),
        Reason.EXPECTATION_FAILED: _client(417, "expectation failed"),
        Reason.RATE_LIMITED: _client(429, "rate limit exceeded", close=False),
        Reason.HEAD_TOO_LARGE: _client(431, "request header fields too large"),
        Reason.INTERNAL_ERROR: Answer(500, "internal server error", Blame.US, close=True),
        Reason.BAD_GATEWAY_CONNECT: _BAD_GATEWAY,
        Reason.BAD_GATEWAY_RESET: _BAD_GATEWAY,
        Reason.BAD_GATEWAY_PROTOCOL: _BAD_GATEWAY,
        Reason.BACKEND_TIMEOUT: _BAD_GATEWAY,
        Reason.NO_BACKEND: Answer(503, "service unavailable", Blame.BACKEND),
        Reason.BACKEND_ABORTED: Answer(502, "", Blame.BACKEND, close=True),
        Reason.CLIENT_GONE: Answer(499, "", Blame.CLIENT, close=True),
    }
)  # not as enum values: two reasons with equal answers would silently become one member


class Refused(Exception):  # noqa: N818 - a refusal is an outcome, no error of ours
    """The client's request cannot be served. `detail` is for our log only: it may quote what came."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class ExhaustedError(Refused):
    """We have nothing left that the request needs, such as a descriptor. No backend is to blame for it."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.INTERNAL_ERROR, detail)


class Replay(Enum):
    """Whether trying a failed attempt again is safe, as far as the failure itself can tell."""

    NEVER = "never"
    UNSENT = "unsent"  # as FRESH_CONNECTION, but nothing of the request had gone out
    FRESH_CONNECTION = "fresh connection"
    ANOTHER_BACKEND = "another backend"


class BackendError(Exception):
    """The backend failed us. `replay` says whether trying again is safe; `detail` is for our log only."""

    def __init__(self, reason: Reason, detail: str, replay: Replay = Replay.NEVER) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.replay = replay

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class ClientGoneError(Exception):
    """The client closed its connection (or its sending half, which looks the same) before the answer was out."""


class StoppedError(Exception):
    """Aegis stops and breaks off what would never end by itself, such as an event stream: nobody's fault."""

    def __init__(self) -> None:
        super().__init__("closed by the stop")


class DeadlinePassedError(Exception):
    """A wait lasted longer than its deadline. Raised into the waiting greenlet by the sweep, through the hub."""
