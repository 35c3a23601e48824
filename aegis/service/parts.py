"""The parts of a running Aegis as one value that can be printed. Says what there is; `build` knows how it is made."""

from collections.abc import Callable
from dataclasses import dataclass

from aegis.background import Background
from aegis.config.schema import CircuitBreaker, Config
from aegis.events import Events
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.logs.writer import LogWriter
from aegis.metrics.counters import Counters
from aegis.net.deadlines import Deadlines
from aegis.pool.backends import Backends
from aegis.pool.breaker import Breaker
from aegis.pool.prober import Prober
from aegis.pool.repin import Repinner
from aegis.process.handover import Handed, OldImages
from aegis.process.notify import Notifier
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.proxy.retry import Budget
from aegis.ratelimit.limiter import Limiter
from aegis.ratelimit.recorder import Recorder
from aegis.ratelimit.ticks import AdaptiveLoop
from aegis.service.observe import Observer
from aegis.service.stack import Stack
from aegis.transport.resolver import Resolve

MakeBreaker = Callable[[str, CircuitBreaker], Breaker]
"""(a backend's name, its section) → its breaker."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All that is made from one configuration."""

    config: Config
    backends: Backends
    prober: Prober
    repinner: Repinner
    deadlines: Deadlines
    stack: Stack
    proxy: ProxyApp
    timeouts: Timeouts
    budget: Budget
    request_heads: RequestHeads
    response_heads: ResponseHeads
    limiter: Limiter
    adaptive: AdaptiveLoop
    recorder: Recorder
    writer: LogWriter
    events: Events
    counters: Counters
    observer: Observer
    handed: Handed
    old_images: OldImages
    make_breaker: MakeBreaker
    background: Background
    notifier: Notifier
    status: Callable[[], str]
    resolve: Resolve  # through the DNS threads: blocks the calling greenlet only
