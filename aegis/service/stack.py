"""The WSGI layers in their order."""

from typing import Final

from aegis.config.schema import Config
from aegis.context import WsgiApp
from aegis.logs.access import AccessLog, Count
from aegis.logs.writer import LogWriter
from aegis.ratelimit.layer import RateLimitLayer
from aegis.ratelimit.limiter import Limiter
from aegis.security.headers import SecurityHeaders
from aegis.security.validation import Validation, whitelist

ACCESS_LEVELS: Final = ("debug", "info")


def build_stack(app: WsgiApp, config: Config, limiter: Limiter, writer: LogWriter, count: Count) -> WsgiApp:
    """The app with every layer around it, innermost first. writer takes access lines; count, finished exchanges."""
    server = config.server
    # Layers are handed on as bound methods: the interpreter calls those without a C frame of their own, which every
    # greenlet switch below would have to copy away and back (4 % of the rate).
    hosts = whitelist(server.allowed_hosts, [entry.host for entry in config.backends], server.host)
    # A token for everything that would be proxied, and for nothing that validation refuses.
    app = RateLimitLayer(app, limiter).__call__
    # Refuses what may not be proxied, before a token is spent or a backend chosen.
    app = Validation(app, hosts, server.allowed_methods, server.max_body_bytes).__call__
    # Outside of all that answers, so that refusals carry the security fields too.
    app = SecurityHeaders(app).__call__
    # Outermost: sees every request and every failure below.
    logging = config.logging
    enabled = logging.level in ACCESS_LEVELS
    access = AccessLog(app, writer.put, count, text=logging.format == "text", enabled=enabled)
    writer.before_flush = access.flush
    return access.__call__
