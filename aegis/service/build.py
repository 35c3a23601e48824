"""Config → the parts of a running Aegis, a value one can print. Nothing is opened but the log file."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

import gevent
from gevent.threadpool import ThreadPool

from aegis.background import Background, Job
from aegis.config.check import Fault, is_own_listener
from aegis.config.schema import BackendEntry, CircuitBreaker, Config, Transport
from aegis.events import Events, Kind
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.logs.writer import LogWriter, open_log
from aegis.metrics.counters import Counters
from aegis.metrics.window import LatencyWindow
from aegis.net.deadlines import Deadlines
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.breaker import Breaker
from aegis.pool.health import Health
from aegis.pool.policies import policy_of
from aegis.pool.prober import Prober
from aegis.pool.repin import AT_ONCE, LookUp, Repinner
from aegis.process.handover import Handed, OldImages, received
from aegis.process.notify import Notifier
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.proxy.retry import Budget
from aegis.ratelimit.limiter import Limiter
from aegis.ratelimit.recorder import Recorder
from aegis.ratelimit.ticks import AdaptiveLoop, Watch
from aegis.security.addresses import Network, networks_opened_for
from aegis.service.jobs import job_table, probe_jobs
from aegis.service.observe import Observed, Observer
from aegis.service.stack import Stack, build_stack
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address, Resolve, VettingError, system_resolve, vet
from aegis.wire.server import WireSettings

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
    jobs: Callable[[Config], tuple[Job, ...]]
    background: Background
    notifier: Notifier
    status: Callable[[], str]
    resolve: Resolve  # through the DNS threads: blocks the calling greenlet only


def vet_backends(config: Config, resolve: Resolve = system_resolve) -> tuple[list[Backend], list[Fault]]:
    """(the backends with their vetted addresses, every backend that may not be connected to)."""
    networks = config.security.backend_networks
    backends, faults = [], list[Fault]()
    for index, entry in enumerate(config.backends):
        try:
            backends.append(_vet(entry, config, networks, resolve))
        except VettingError as error:
            faults.append(Fault(f"backends[{index}].url", str(error)))
    return backends, faults


def networks_of(config: Config, resolve: Resolve = system_resolve) -> tuple[str, ...]:
    """The networks that the backends' own addresses need opened; what cannot be resolved is left for vetting to say."""
    addresses = list[str]()
    for entry in config.backends:
        try:
            addresses += [address for _, address in resolve(entry.host, entry.port)]
        except (OSError, UnicodeError):
            continue
    return networks_opened_for(addresses)


def _vet(entry: BackendEntry, config: Config, networks: Sequence[Network], resolve: Resolve) -> Backend:
    # [SECURITY] StartupValidation: every backend is vetted before a port is opened.
    addresses = _addresses(entry.host, entry.port, config, networks, resolve)
    return Backend(entry.name, entry.scheme, entry.host, entry.port, entry.weight, addresses)


def _addresses(
    host: str, port: int, config: Config, networks: Sequence[Network], resolve: Resolve
) -> tuple[Address, ...]:
    """The vetted addresses of a backend, at start as later. Raises VettingError."""
    loopback = config.development.allow_loopback_backends
    addresses = vet(host, port, resolve, allow_loopback=loopback, networks=networks)
    if is_own_listener(config.server.host, config.server.port, [each.host for each in addresses], port):
        raise VettingError("resolves to our own listener: requests would go round in a circle; use another port")
    return addresses


def look_up_by(config: Config, resolve: Resolve = system_resolve) -> LookUp:
    """What looks a running backend's name up again, by the rules of this configuration."""
    networks = config.security.backend_networks

    def look_up(backend: Backend) -> tuple[Address, ...] | VettingError:
        try:
            return _addresses(backend.host, backend.port, config, networks, resolve)
        except VettingError as error:
            return error

    return look_up


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
    """The parts, wired. backends: vetted. handed, events, make_breaker: with several processes, what they share."""
    deadlines = Deadlines()
    request_heads, response_heads = RequestHeads(), ResponseHeads()
    writer = LogWriter(_log_descriptor(config), ThreadPool(1))
    events = Events() if events is None else events
    states = Backends([make_state(backend, config, deadlines, make_breaker) for backend in backends], events)
    prober = Prober(states, config.health_check, events)
    dns = ThreadPool(AT_ONCE)  # its own: stuck look-ups would delay whatever else runs in the loop's shared pool.
    repinner = Repinner(states, look_up_by(config), dns.spawn, events)
    timeouts = Timeouts(*timeouts_of(config.transport))
    counters = Counters(config.server.allowed_methods)
    limiter = Limiter(config.rate_limit, monotonic, partial(tell_of_client, events))
    recorder = Recorder(config.adaptive.record)
    adaptive = _adaptive_loop(config, states, limiter, events, recorder, counters)
    lateness: dict[str, float] = {}
    observer = Observer(config, Observed(states, limiter, adaptive, counters, writer, events, lateness))
    budget = Budget(config.retry, states.in_flight)
    proxy = ProxyApp(
        policy_of(config.balancing, states), response_heads, timeouts, budget, retry_after=prober.retry_after
    )

    def rotate() -> None:
        request_heads.memo.rotate()
        response_heads.memo.rotate()

    handed = received(os.environ) if handed is None else handed
    old_images = OldImages(handed.old)
    notifier = Notifier(os.environ)
    status = partial(_status, states)

    def jobs(config: Config) -> tuple[Job, ...]:
        return job_table(
            config,
            sweep=deadlines.sweep,
            rotate=rotate,
            flush=writer.flush,
            purge=partial(limiter.purge, gevent.idle),  # gives way to requests between slices
            breakers=states.tick,
            resolve=repinner.tick,
            decide=adaptive.tick,
            record=recorder.flush,
            observe=partial(observer.tick, partial(gevent.sleep, 0.001)),
            probes=probe_jobs(states, prober),
            reap=old_images.reap,
            notifier=notifier,
            status=status,
        )

    return Parts(
        config=config,
        backends=states,
        prober=prober,
        repinner=repinner,
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
        old_images=old_images,
        make_breaker=make_breaker,
        jobs=jobs,
        background=Background(jobs(config), lateness),
        notifier=notifier,
        status=status,
        resolve=partial(_resolve_in, dns),
    )


def _status(states: Backends) -> str:
    """One line for the service manager."""
    return f"serving, {sum(state.eligible for state in states)} of {len(states.states)} backends eligible"


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


def make_state(
    backend: Backend, config: Config, deadlines: Deadlines, make_breaker: MakeBreaker = own_breaker
) -> BackendState:
    """A backend as it begins: eligible, its breaker closed, nothing connected."""
    transport = config.transport
    dial = DialSettings(backend.addresses, transport.connect_timeout, deadlines)
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
