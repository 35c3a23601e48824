"""The WSGI layers in their order."""

from typing import Final

from aegis.config.schema import Config
from aegis.context import WsgiApp
from aegis.logs.access import AccessLog
from aegis.logs.writer import LogWriter
from aegis.metrics.counters import Counters
from aegis.ratelimit.layer import RateLimitLayer
from aegis.ratelimit.limiter import Limiter
from aegis.security.headers import SecurityHeaders
from aegis.security.hosts import HostWhitelist, whitelist
from aegis.security.validation import Validation

ACCESS_LEVELS: Final = ("debug", "info")


class Stack:
    """All layers, as one application, and those of them that a reload concerns."""

    def __init__(self, application: WsgiApp, access: AccessLog, validation: Validation) -> None:
        self.application = application
        self.access = access
        self.validation = validation

    def __repr__(self) -> str:
        return f"<Stack {self.access!r} … {self.validation!r}>"

    def reconfigure(self, config: Config) -> None:
        """Let the layers go on by another configuration. (The limiter is told by whoever has it.)"""
        server = config.server
        self.validation.reconfigure(_hosts(config), server.allowed_methods, server.max_body_bytes)
        self.access.reconfigure(text=config.logging.format == "text", enabled=config.logging.level in ACCESS_LEVELS)


def _hosts(config: Config) -> HostWhitelist:
    return whitelist(config.server.allowed_hosts, [entry.host for entry in config.backends], config.server.host)


def build_stack(app: WsgiApp, config: Config, limiter: Limiter, writer: LogWriter, counters: Counters) -> Stack:
    """The app with every layer around it, innermost first. writer takes access lines; counters, finished exchanges."""
    server = config.server
    # Layers are handed on as bound methods: the interpreter calls those without a C frame of their own, which every
    # greenlet switch below would have to copy away and back (4 % of the rate).
    # A token for everything that would be proxied, and for nothing that validation refuses.
    app = RateLimitLayer(app, limiter).__call__
    # Refuses what may not be proxied, before a token is spent or a backend chosen.
    validation = Validation(app, _hosts(config), server.allowed_methods, server.max_body_bytes)
    # Outside of all that answers, so that refusals carry the security fields too.
    app = SecurityHeaders(validation.__call__).__call__
    # Outermost: sees every request and every failure below.
    logging = config.logging
    enabled = logging.level in ACCESS_LEVELS
    access = AccessLog(app, writer.put, counters.ended, text=logging.format == "text", enabled=enabled)
    writer.before_flush = counters.before_read = access.flush
    return Stack(access.__call__, access, validation)
