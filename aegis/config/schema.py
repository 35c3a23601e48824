"""Every key of the configuration: type, bound, default, meaning, and whether a reload applies it. Stated here only.

The reference in the README, the JSON Schema, the errors and the reload's answer are all derived from these classes.
Building a section by hand checks nothing: `load` decodes by these types, `check` knows the rules between keys.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from aegis.config.duration import Duration
from aegis.config.origin import parse_origin


def about(text: str, *, restart: bool = False, least: str = "") -> Meta:
    """What is said of a key beside its type and bounds.

    text: one line for the reference. restart: a reload does not apply it. least: a duration's smallest value, where
    "" asks for more than zero.
    """
    return Meta(description=text, extra={"restart": restart, "least": least})


def within(low: float, high: float) -> Meta:
    """Both bounds are allowed."""
    return Meta(ge=low, le=high)


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section of the file."""


Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
Threshold = Annotated[int, Meta(ge=1, le=1_000_000)]
Mode = Literal["enforce", "shadow"]


class Server(Section, frozen=True, kw_only=True):
    """The listener toward clients and its limits."""

    host: Annotated[str, about('Address to listen on; "::" is dual stack.', restart=True)] = "0.0.0.0"
    port: Annotated[int, within(1, 65_535), about("Port to listen on.", restart=True)] = 8080
    read_timeout: Annotated[Duration, about("Bounds a request's head and each idle gap of its body.")] = Duration("5s")
    write_timeout: Annotated[Duration, about("Bounds each stall of a write to a slow reader.")] = Duration("10s")
    idle_timeout: Annotated[Duration, about("Closes keep-alive connections idle for longer.")] = Duration("120s")
    max_header_bytes: Annotated[
        int, within(256, 1_048_576), about("Request line and fields together; more is refused with 431 or 414.")
    ] = 8192
    max_body_bytes: Annotated[
        int, within(1, 1_099_511_627_776), about("Largest request body in bytes; more is refused with 413.")
    ] = 10_485_760
    shutdown_timeout: Annotated[Duration, about("Longest drain of requests in flight at a stop.")] = Duration("30s")
    shutdown_delay: Annotated[
        Duration, about("Goes on listening for this long after readiness has failed at a stop.", least="0s")
    ] = Duration("0s")
    max_connections: Annotated[int, within(1, 1_000_000), about("Most open client connections per process.")] = 10_000
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | Literal["auto"],
        about("Worker processes; auto is one per CPU.", restart=True),
    ] = 1
    steering: Annotated[
        Literal["client", "connection"],
        about("With workers: the same client goes to the same worker, or connections are spread.", restart=True),
    ] = "client"
    allowed_hosts: Annotated[
        tuple[str, ...],
        about("Host names served: exact, *.suffix or *; empty: the backends' names, loopback and the listen host."),
    ] = ()
    allowed_methods: Annotated[tuple[str, ...], about("Request methods served; others are refused with 405.")] = (
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
    )


class BackendEntry(Section, frozen=True, kw_only=True):
    """One backend. Its url may be malformed as long as `check` has not passed it; then its parts raise ValueError."""

    url: Annotated[str, about("scheme://host[:port], http or https.")]
    weight: Annotated[int, within(0, 1_000), about("Share of the requests; 0 is drained.")]
    name: Annotated[str, about("Name in logs, metrics and the dashboard; host:port unless given.")] = ""

    def __post_init__(self) -> None:
        """Fill in the name, so that nobody has to know the rule."""
        if not self.name:
            try:
                force_setattr(self, "name", parse_origin(self.url).netloc)
            except ValueError:
                return  # `check` reports the url

    @property
    def scheme(self) -> str:
        """Either http or https."""
        return parse_origin(self.url).scheme

    @property
    def host(self) -> str:
        """Name or address, lower case, IPv6 without brackets."""
        return parse_origin(self.url).host

    @property
    def port(self) -> int:
        """The port given, else 80 or 443."""
        return parse_origin(self.url).port


class Transport(Section, frozen=True, kw_only=True):
    """Connections toward backends."""

    connect_timeout: Annotated[Duration, about("Bounds the connect to each address of a backend.")] = Duration("5s")
    response_header_timeout: Annotated[Duration, about("From the last request byte sent to the response's head.")] = (
        Duration("10s")
    )
    read_timeout: Annotated[Duration, about("Longest gap between two pieces of a response body.")] = Duration("60s")
    stream_idle_timeout: Annotated[Duration, about("Longest silence of an event stream or WebSocket tunnel.")] = (
        Duration("10m")
    )
    idle_conn_timeout: Annotated[Duration, about("Life of an idle connection to a backend.")] = Duration("90s")
    max_idle_per_backend: Annotated[int, within(1, 65_536), about("Idle connections kept per backend.")] = 256


class Retry(Section, frozen=True, kw_only=True):
    """How much trying again is allowed."""

    budget_percent: Annotated[int, within(0, 100), about("Retries allowed, in percent of the requests in flight.")] = 20
    min: Annotated[int, within(0, 10_000), about("Retries that may be in flight whatever the percentage.")] = 3


class HealthCheck(Section, frozen=True, kw_only=True):
    """Active probes."""

    interval: Annotated[Duration, about("From the start of one probe to the next.", least="10ms")] = Duration("10s")
    timeout: Annotated[Duration, about("Bounds one probe; at most the interval.")] = Duration("3s")
    path: Annotated[str, about("What is asked for; 2xx passes.")] = "/health"
    unhealthy_threshold: Annotated[Threshold, about("Failures in a row that mark a backend down.")] = 3
    healthy_threshold: Annotated[Threshold, about("Passes in a row that mark it up again.")] = 2


class RateLimit(Section, frozen=True, kw_only=True):
    """One token bucket per client address."""

    requests_per_second: Annotated[Rate, about("Tokens per second and client.")] = 100.0
    burst: Annotated[int, within(1, 1_000_000), about("Size of a bucket.")] = 150
    cleanup_interval: Annotated[Duration, about("How often full buckets are purged.", least="10ms")] = Duration("60s")
    max_entries: Annotated[int, within(1, 10_000_000), about("Most clients tracked; the oldest goes first.")] = 65_536
    ipv6_prefix: Annotated[
        int, within(1, 128), about("Bits of an IPv6 address that make one client.", restart=True)
    ] = 64
    mode: Annotated[Mode, about("shadow counts what would be limited and limits nothing.")] = "enforce"


class Adaptive(Section, frozen=True, kw_only=True):
    """The loop that tunes the rate by latency."""

    enabled: Annotated[bool, about("Tune the rate limit by the backends' P95 latency.")] = True
    evaluation_interval: Annotated[Duration, about("From one decision to the next.", least="10ms")] = Duration("10s")
    latency_threshold_ms: Annotated[
        float, Meta(gt=0, le=3_600_000), about("P95 in milliseconds above which the rate is reduced.")
    ] = 500.0
    reduction_factor: Annotated[float, Meta(gt=0, lt=1), about("Rate times this on a reduction.")] = 0.8
    recovery_factor: Annotated[float, Meta(gt=1, le=100), about("Rate times this on a recovery.")] = 1.1
    min_rate: Annotated[Rate, about("Lowest rate it sets.")] = 10.0
    max_rate: Annotated[Rate, about("Highest rate it sets.")] = 500.0
    min_samples: Annotated[
        int, within(0, 1_000_000), about("Samples since the last decision below which it holds.")
    ] = 20
    grow: Annotated[
        Literal["always", "when_limiting"],
        about("when_limiting: above the configured rate only while clients are being limited."),
    ] = "always"
    mode: Annotated[Mode, about("shadow decides and reports without acting.")] = "enforce"
    record: Annotated[str, about('File to which decisions are appended as JSON lines; "" is off.')] = ""


class CircuitBreaker(Section, frozen=True, kw_only=True):
    """One breaker per backend."""

    failure_threshold: Annotated[Threshold, about("Failures in a row that open it.")] = 5
    success_threshold: Annotated[Threshold, about("Successes in half-open that close it.")] = 3
    open_timeout: Annotated[Duration, about("How long it stays open before half-open.")] = Duration("30s")
    half_open_max_requests: Annotated[Threshold, about("Requests let through at once in half-open.")] = 3


class Balancing(Section, frozen=True, kw_only=True):
    """Which eligible backend gets the next request."""

    policy: Annotated[
        Literal["weighted_round_robin", "least_connections", "peak_ewma"], about("How a backend is picked.")
    ] = "weighted_round_robin"


class Metrics(Section, frozen=True, kw_only=True):
    """The latency window per backend."""

    window: Annotated[Duration, about("Age above which a latency sample is forgotten.")] = Duration("60s")
    window_samples: Annotated[int, within(1, 100_000), about("Most latency samples kept per backend.")] = 1000


class Security(Section, frozen=True, kw_only=True):
    """What of the strict defaults is opened."""

    allowed_backend_networks: Annotated[
        tuple[str, ...], about("CIDRs in which backends may lie although they are not public.")
    ] = ()
    trusted_proxies: Annotated[tuple[str, ...], about("CIDRs of proxies whose X-Forwarded-* are kept.")] = ()

    @property
    def backend_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`allowed_backend_networks` parsed; ValueError before `check` has passed them."""
        return tuple(map(ip_network, self.allowed_backend_networks))

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`trusted_proxies` parsed; ValueError before `check` has passed them."""
        return tuple(map(ip_network, self.trusted_proxies))


class Admin(Section, frozen=True, kw_only=True):
    """The admin listener."""

    listen: Annotated[str, about('host:port or unix:/path of the admin listener; "" is off.', restart=True)] = ""
    allow_remote: Annotated[bool, about("Let listen be a non-loopback address.", restart=True)] = False
    health_listen: Annotated[
        str, about('host:port for liveness, readiness and metrics only; "" is off.', restart=True)
    ] = ""


class Logging(Section, frozen=True, kw_only=True):
    """Where and how it is logged."""

    level: Annotated[Literal["info", "debug", "warn", "error"], about("Least severe level logged.")] = "info"
    format: Annotated[Literal["json", "text"], about("One JSON object a line, or text.")] = "json"
    file: Annotated[str, about('File to log to; "" is stdout.')] = ""


class Tui(Section, frozen=True, kw_only=True):
    """The dashboard."""

    refresh_interval: Annotated[Duration, about("From one repaint to the next.", least="10ms")] = Duration("1s")
    enabled: Annotated[bool, about("Show the dashboard when on a terminal.", restart=True)] = True


class Development(Section, frozen=True, kw_only=True):
    """Switches for a developer's machine."""

    allow_loopback_backends: Annotated[bool, about("Let backends lie on loopback addresses.")] = False


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = field(default_factory=Server)
    backends: Annotated[tuple[BackendEntry, ...], Meta(min_length=1)]
    transport: Transport = field(default_factory=Transport)
    retry: Retry = field(default_factory=Retry)
    health_check: HealthCheck = field(default_factory=HealthCheck)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    adaptive: Adaptive = field(default_factory=Adaptive)
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    balancing: Balancing = field(default_factory=Balancing)
    metrics: Metrics = field(default_factory=Metrics)
    security: Security = field(default_factory=Security)
    admin: Admin = field(default_factory=Admin)
    logging: Logging = field(default_factory=Logging)
    tui: Tui = field(default_factory=Tui)
    development: Development = field(default_factory=Development)
