"""Which requests may be proxied at all: pure rules first, their WSGI layer last."""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from aegis.context import KEY, Environ, RequestContext, StartResponse, WsgiApp
from aegis.reasons import OK, Reason, Refused
from aegis.security.hosts import HostWhitelist
from aegis.security.masking import LONGEST_METHOD

ROUNDS_OF_DECODING: Final = 2


def has_dot_dot(path: bytes) -> bool:
    r"""Whether a segment is `..`, with `/` and `\` as separators and anything behind a `;` left out of account."""
    segments = path.replace(b"\\", b"/").split(b"/")
    return any(segment.partition(b";")[0] == b".." for segment in segments)


def check_path(target: bytes) -> None:
    """Raise Refused for a path that climbs or holds control characters, decoded up to twice.

    The path is only looked at: what goes to the backend is the target byte for byte.
    """
    path = target.partition(b"?")[0]
    for _ in range(ROUNDS_OF_DECODING + 1):
        # [SECURITY] PathTraversal: backends decode once or twice, so a `..` must not appear at any of these depths.
        if has_dot_dot(path):
            raise Refused(Reason.PATH_TRAVERSAL, "a .. segment")
        # [SECURITY] ControlCharacters: a decoded NUL or line break truncates paths and splits log lines elsewhere.
        if any(byte < 0x20 or byte == 0x7F for byte in path):  # noqa: PLR2004 - the ASCII control characters
            raise Refused(Reason.PATH_TRAVERSAL, "a control character")
        if b"%" not in path:
            return
        path = unquote_to_bytes(path)


class Validation:
    """WSGI layer: refuses what may not be proxied. Independent of limiter and breaker."""

    def __init__(self, app: WsgiApp, hosts: HostWhitelist, methods: Sequence[str], max_body_bytes: int) -> None:
        self.app = app
        self.reconfigure(hosts, methods, max_body_bytes)

    def __repr__(self) -> str:
        return f"<Validation {self.hosts!r} {' '.join(sorted(self.methods))}>"

    def reconfigure(self, hosts: HostWhitelist, methods: Sequence[str], max_body_bytes: int) -> None:
        """Judge by these from the next request on."""
        self.hosts = hosts
        self.methods = frozenset(methods)
        self.max_body_bytes = max_body_bytes
        self.allow = f"Allow: {', '.join(methods)}\r\n".encode()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        """PEP 3333."""
        context: RequestContext = environ[KEY]
        app = self.app
        if context.reason is OK:
            block, path, length = context.block, context.path, context.block.framing.length
            # The hot path: nothing of what `check` looks for can be there.
            if not (
                context.method in self.methods
                and block.host_name in self.hosts.exact
                and ".." not in path
                and "%" not in path
                and path.isprintable()
                and (length is None or length <= self.max_body_bytes)
            ):
                try:
                    self.check(context)
                except Refused as refusal:
                    context.reason, context.detail = refusal.reason, refusal.detail
        return app(environ, start_response)

    def check(self, context: RequestContext) -> None:
        """Raise Refused with the first reason against this request."""
        # [SECURITY] Method: only listed ones are proxied; CONNECT and TRACE can never be listed.
        if context.method not in self.methods:
            context.extra += self.allow
            context.method = context.method[:LONGEST_METHOD]  # it goes nowhere but into the access line
            raise Refused(Reason.METHOD_NOT_ALLOWED, context.method)
        block = context.block
        # [SECURITY] HostWhitelist: a name we do not serve is DNS rebinding, a scan or a mistake.
        if block.host_name not in self.hosts:
            detail = f"{block.host_name!r} is not served; server.allowed_hosts would allow it"
            raise Refused(Reason.HOST_NOT_ALLOWED, detail)
        check_path(context.target)
        # [SECURITY] BodySize: what is declared is judged here, what is counted while it streams by the body itself.
        length = block.framing.length
        if length is not None and length > self.max_body_bytes:
            raise Refused(Reason.BODY_TOO_LARGE, f"{length} bytes declared, {self.max_body_bytes} allowed")
