"""Config → the parts of a running Aegis, a value one can print. Nothing is opened but the log file."""

import os
from collections.abc import Sequence
from functools import partial
from time import monotonic

import gevent
from gevent.threadpool import ThreadPool

from aegis.background import Background
from aegis.config.schema import CircuitBreaker, Config, Transport
from aegis.events import Events, Kind
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.logs.writer import LogWriter, open_log
from aegis.metrics.counters import Counters
from aegis.metrics.window import LatencyWindow
from aegis.net.deadlines import Deadlines
from aegis.net.shortage import MakeRoom, no_room
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.breaker import Breaker
from aegis.pool.health import Health
from aegis.pool.policies import policy_of
from aegis.pool.prober import Prober
from aegis.pool.repin import AT_ONCE, Repinner
from aegis.process.handover import Handed, OldImages, received
from aegis.process.notify import Notifier
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.proxy.retry import Budget
from aegis.ratelimit.limiter import Limiter
from aegis.ratelimit.recorder import Recorder
from aegis.ratelimit.ticks import AdaptiveLoop, Watch
from aegis.service.observe import Observed, Observer
from aegis.service.parts import MakeBreaker, Parts
from aegis.service.stack import build_stack
from aegis.service.status import status_line
from aegis.service.vetting import look_up_by
from aegis.thread import SingleThread
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import system_resolve
from aegis.wire.server import WireSettings


def own_breaker(name: str, section: CircuitBreaker) -> Breaker:
    """The breaker of a process that shares it with none."""
    del name
    return Breaker(section)


def build(
    config: Config,
    backends: Sequence[Backend],
    *,
    handed: Handed | None = None,
    events: Events | None = None,
    make_breaker: MakeBreaker = own_breaker,
) -> Parts:
    """The parts, wired, and a background without jobs: whoever runs them says which are its own.

    backends: vetted. handed, events, make_breaker: with several processes, what they share.
    """
    deadlines, timeouts = Deadlines(), Timeouts(*timeouts_of(config.transport))
    request_heads, response_heads = RequestHeads(), ResponseHeads()
    writer = LogWriter(_log_descriptor(config), SingleThread())
    events = Events() if events is None else events
    states = _make_states(config, backends, events, deadlines, make_breaker)
    prober = Prober(states, config.health_check, events)
    dns = ThreadPool(AT_ONCE)  # its own: stuck look-ups would delay whatever else runs in the loop's shared pool.
    limiter = Limiter(config.rate_limit, monotonic, partial(tell_of_client, events))
    counters, recorder = Counters(config.server.allowed_methods), Recorder(config.adaptive.record, SingleThread())
    adaptive = _adaptive_loop(config, states, limiter, events, recorder, counters)
    policy, budget = policy_of(config.balancing, states), Budget(config.retry, states.in_flight)
    proxy = ProxyApp(policy, response_heads, timeouts, budget, retry_after=prober.retry_after)
    handed = received(os.environ) if handed is None else handed
    background = Background(())
    observer = Observer(config, Observed(states, limiter, adaptive, counters, writer, events, background.lateness))
    return Parts(
        config=config,
        backends=states,
        prober=prober,
        repinner=Repinner(states, look_up_by(config), dns.spawn, events),
        deadlines=deadlines,
        stack=build_stack(proxy.__call__, config, limiter, writer, counters),
        proxy=proxy,
        timeouts=timeouts,
        budget=budget,
        request_heads=request_heads,
        response_heads=response_heads,
        limiter=limiter,
        adaptive=adaptive,
        recorder=recorder,
        writer=writer,
        events=events,
        counters=counters,
        observer=observer,
        handed=handed,
        old_images=OldImages(handed.old),
        make_breaker=make_breaker,
        background=background,
        notifier=Notifier(os.environ),
        status=partial(_status, observer),
        resolve=partial(_resolve_in, dns),
    )


def _status(observer: Observer) -> str:
    """One line for the service manager."""
    states, server = observer.parts.backends, observer.server
    eligible, in_flight = sum(state.eligible for state in states), server.in_flight() if server else 0
    return status_line(observer.stage, eligible, len(states.states), in_flight)


def _resolve_in(threads: ThreadPool, host: str, port: int) -> Sequence[tuple[int, str]]:
    """Not in the hub's own pool: a look-up that is stuck there would hold up everybody's."""
    found: Sequence[tuple[int, str]] = threads.apply(system_resolve, (host, port))
    return found


def timeouts_of(transport: Transport) -> tuple[float, float, float]:
    """To the response's head, between two pieces of its body, of an event stream."""
    return transport.response_header_timeout, transport.read_timeout, transport.stream_idle_timeout


def tell_of_client(events: Events, kind: str, client: str, count: int) -> None:
    """One event when a client starts being limited, one with the count of refusals when it stops. client: masked."""
    if kind == "client_limited":
        events.emit(Kind.CLIENT_LIMITED, "a client is being limited", client=client)
    else:
        events.emit(Kind.CLIENT_RELIEVED, "a client is no longer limited", client=client, refused=count)


def _adaptive_loop(
    config: Config, states: Backends, limiter: Limiter, events: Events, recorder: Recorder, counters: Counters
) -> AdaptiveLoop:
    def windows() -> list[tuple[LatencyWindow, bool]]:
        return [(state.window, state.healthy) for state in states]

    def refusals() -> int:
        return limiter.limited + limiter.shadow_limited

    def enforce(rate: float) -> None:
        limiter.rate = rate

    watch = Watch(windows, refusals, monotonic, partial(gevent.sleep, 0.001))
    rate = config.rate_limit.requests_per_second
    return AdaptiveLoop(config.adaptive, rate, watch.look, enforce, events, recorder.put, counters.decisions)


def _log_descriptor(config: Config) -> int:
    if not config.logging.file:
        return 1
    return open_log(config.logging.file)


def _make_states(
    config: Config, backends: Sequence[Backend], events: Events, deadlines: Deadlines, make_breaker: MakeBreaker
) -> Backends:
    def make_room() -> bool:
        return states.drop_parked()

    states = Backends([make_state(each, config, deadlines, make_breaker, make_room) for each in backends], events)
    return states


def make_state(
    backend: Backend,
    config: Config,
    deadlines: Deadlines,
    make_breaker: MakeBreaker = own_breaker,
    make_room: MakeRoom = no_room,
) -> BackendState:
    """A backend as it begins: eligible, its breaker closed, nothing connected."""
    transport = config.transport
    dial = DialSettings(backend.addresses, transport.connect_timeout, deadlines, make_room)
    pool = open_pool(
        backend.url, dial, max_idle=transport.max_idle_per_backend, idle_timeout=transport.idle_conn_timeout
    )
    breaker, health = make_breaker(backend.name, config.circuit_breaker), Health(config.health_check)
    return BackendState(backend, pool, config.metrics, breaker, health)


def wire_settings(config: Config, max_connections: int) -> WireSettings:
    """What the wire goes by. max_connections: as clamped to the descriptor limit."""
    server = config.server
    return WireSettings(
        read_timeout=server.read_timeout,
        write_timeout=server.write_timeout,
        idle_timeout=server.idle_timeout,
        max_header_bytes=server.max_header_bytes,
        max_body_bytes=server.max_body_bytes,
        max_connections=max_connections,
        trusted_proxies=tuple(config.security.proxy_networks),
    )
