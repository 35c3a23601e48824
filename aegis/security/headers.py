"""The security fields that every response carries, and the WSGI layer that sets them."""

from collections.abc import Iterable
from typing import Final

from aegis.context import KEY, Environ, Fields, RequestContext, StartResponse, WsgiApp

# [SECURITY] SecurityHeaders: set on every response, those of the parser included; they replace the backend's.
SECURITY_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("X-XSS-Protection", "0"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    ("Server", "aegis"),
)
SECURITY_WIRE: Final = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_FIELDS).encode()

# [SECURITY] SecurityHeaders: X-Powered-By tells an attacker what to try; it goes without a replacement.
REPLACED: Final = frozenset({name.lower().encode() for name, _ in SECURITY_FIELDS} | {b"x-powered-by"})


def secured(fields: Fields) -> Fields:
    """A copy of the fields with ours in place of any of the same names."""
    kept = [(name, value) for name, value in fields if name.lower().encode("latin-1") not in REPLACED]
    return [*kept, *SECURITY_FIELDS]


class SecurityHeaders:
    """WSGI layer: whatever answers below, the answer leaves with the security fields."""

    def __init__(self, app: WsgiApp) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes | memoryview]:
        """PEP 3333."""
        # Asked for, not done here: a start_response of its own for every request would cost 2 % of the rate. A head
        # that came from a backend has the fields already: put in once per distinct head, not per response.
        context: RequestContext = environ[KEY]
        context.secure = secured
        app = self.app
        return app(environ, start_response)
