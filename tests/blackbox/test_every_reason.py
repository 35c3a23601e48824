"""One request for each reason of the closed set: what the client gets, what is logged, what the connection does next.

A started process wherever one can be brought to it; the one reason that needs a bug of ours is reached through the same
stack in this process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import gevent
import pytest
from gevent.event import Event

from aegis.config.load import load_text
from aegis.context import KEY
from aegis.http1.request_head import RequestHeads
from aegis.metrics.counters import Counters
from aegis.net.deadlines import Deadlines
from aegis.proxy.app import refuse
from aegis.ratelimit.limiter import Limiter
from aegis.reasons import ANSWERS, Reason
from aegis.service.stack import build_stack
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import DEFAULT_METHODS, REFUSALS, SECURITY_FIELDS, check_every_response, check_refusal
from tests.support.line_sink import LineSink
from tests.support.poll import eventually
from tests.support.ports import free_port, loopback_host
from tests.support.raw_client import AbortedError, RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, hold, then_close, then_reset

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 4096
BURST = 6
CONFIG = {
    "server": {
        "allowed_hosts": ["example.test"],
        "max_body_bytes": LIMIT,
        "read_timeout": "400ms",
        "write_timeout": "400ms",
    },
    "transport": {"response_header_timeout": "500ms", "read_timeout": "500ms"},
    "rate_limit": {"requests_per_second": 0.1, "burst": BURST},
    "adaptive": {"enabled": False, "min_rate": 0.1},
}
KEPT, CLOSED = "kept", "closed"


@dataclass(frozen=True)
class Case:
    """`send` brings one client to the refusal; {} in its lines is the method."""

    reason: str
    send: Callable[[RawClient, str], None]
    then: str
    passed_limiter: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD")
    before: Callable[[ScriptedBackend], None] = lambda backend: None

    def __str__(self) -> str:
        return self.reason


def raw(*lines, body=b""):
    """Send a head of these lines, and a body."""

    def send(client, method):
        client.send("\r\n".join([*lines, "", ""]).format(method).encode("latin-1") + body)

    return send


def part(text):
    """Send something that is never finished."""
    return lambda client, method: client.send(text.format(method).encode())


def dripped(client, method):
    client.send(f"{method} /drip HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000\r\n\r\n".encode())
    until = monotonic() + 5
    while not client.readable() and monotonic() < until:
        client.send(b"a")
        gevent.sleep(0.05)


def over_the_limit(client, method):
    for _ in range(BURST):
        assert client.get("/fine").status == 200
    client.request(method, "/one-more")


def asks(path):
    return raw(f"{{}} {path} HTTP/1.1", "Host: example.test")


def answers(path, script):
    return lambda backend: backend.on(path, script)


HOST = "Host: example.test"
CASES = [
    Case("bad_request_line", raw("{}  / HTTP/1.1", HOST), CLOSED),
    Case("bad_field", raw("{} / HTTP/1.1", HOST, "X-A : 1"), CLOSED),
    Case("bad_host", raw("{} / HTTP/1.1"), CLOSED),
    Case("bad_target", raw("{} /a#b HTTP/1.1", HOST), CLOSED),
    Case("bad_framing", raw("{} / HTTP/1.1", HOST, "Content-Length: 3", "Transfer-Encoding: chunked"), CLOSED),
    Case("bad_upgrade", raw("{} / HTTP/1.1", HOST, "Upgrade: h2c", "Content-Length: 5", body=b"hello"), CLOSED),
    Case("path_traversal", raw("{} /a/%2e%2e/b HTTP/1.1", HOST), CLOSED),
    Case("host_not_allowed", raw("{} / HTTP/1.1", "Host: stranger.test"), CLOSED),
    Case("method_not_allowed", raw("{} / HTTP/1.1", HOST), KEPT, methods=("TRACE", "PROPFIND")),
    Case("head_timeout", part("{} / HTTP/1.1\r\nHost: exam"), CLOSED),
    Case(
        "body_timeout",
        part("{} /gap HTTP/1.1\r\nHost: example.test\r\nContent-Length: 9\r\n\r\nsome"),
        CLOSED,
        passed_limiter=True,
        methods=("POST", "HEAD"),
    ),
    Case("client_slow", dripped, CLOSED, passed_limiter=True, methods=("POST", "HEAD")),
    Case(
        "body_too_large", raw("{} / HTTP/1.1", HOST, f"Content-Length: {LIMIT + 1}"), CLOSED, methods=("POST", "HEAD")
    ),
    Case("target_too_long", part("{} /" + "a" * 9000), CLOSED),
    Case("expectation_failed", raw("{} / HTTP/1.1", HOST, "Expect: a miracle"), CLOSED),
    Case("rate_limited", over_the_limit, KEPT, passed_limiter=True),
    Case("head_too_large", raw("{} / HTTP/1.1", HOST, "Cookie: " + "a" * 9000), CLOSED),
    Case("bad_gateway_reset", asks("/reset"), KEPT, passed_limiter=True, before=answers("/reset", then_reset(b""))),
    Case(
        "bad_gateway_protocol",
        asks("/garbage"),
        KEPT,
        passed_limiter=True,
        before=answers("/garbage", then_close(b"HTTP/1.1 000 None\r\n\r\n")),
    ),
    Case(
        "backend_timeout", asks("/silent"), KEPT, passed_limiter=True, before=answers("/silent", hold(Event(), HELLO))
    ),
]
RUNS = [(case, method) for case in CASES for method in case.methods]
ELSEWHERE = {"ok", "bad_gateway_connect", "internal_error", "no_backend", "backend_aborted", "client_gone"}


@pytest.fixture
def source():
    """An address of its own for each test, and so a bucket of its own."""
    return loopback_host()


def check_fields(response, reason, *, passed_limiter):
    """The fields are those of the specification and no other: nothing of us or of the backend leaks."""
    allowed = {"content-type", "content-length", "date", "x-request-id", *map(str.lower, SECURITY_FIELDS)}
    if REFUSALS[reason].closes:
        allowed |= {"connection"}
    if passed_limiter:
        allowed |= {"ratelimit", "ratelimit-policy"}
    allowed |= {"allow"} if reason == "method_not_allowed" else set()
    allowed |= {"retry-after"} if reason in {"rate_limited", "no_backend"} else set()
    assert {name.lower() for name, _ in response.fields} == allowed, response
    if reason == "method_not_allowed":
        assert {method.strip() for method in response["Allow"].split(",")} == DEFAULT_METHODS
    if reason == "rate_limited":
        assert response["Retry-After"] == "10"
        assert response["RateLimit"] == '"ip";r=0;t=10'


def check_connection(client, then):
    if then == CLOSED:
        assert client.ends_silently(3)
    else:
        assert client.get("/next").status in {200, 429, 502, 503}  # answered, whatever with


@pytest.mark.parametrize(("case", "method"), RUNS, ids=[f"{case}-{method}" for case, method in RUNS])
def test_a_refusal_says_what_the_table_says(case, method, aegis, backend, connect, source):
    case.before(backend)
    client = connect(source=source)
    case.send(client, method)
    to_head = method == "HEAD"
    response = client.read_response("HEAD" if to_head else "GET")
    check_refusal(response, case.reason, to_head=to_head)
    check_fields(response, case.reason, passed_limiter=case.passed_limiter)
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["reason"], line["status"]) == (case.reason, response.status)
    assert line["method"] == method
    assert line["bytes_out"] == len(response.body)
    if not case.passed_limiter or case.reason == "rate_limited":
        assert line["backend"] is None, "nothing was forwarded"
    elif case.reason.startswith(("bad_gateway", "backend")):
        assert line["backend"] == backend.name
    check_connection(client, case.then)
    assert (case.then == CLOSED) is REFUSALS[case.reason].closes


def test_every_reason_has_its_case():
    assert {case.reason for case in CASES} | ELSEWHERE == {str(reason) for reason in Reason}
    assert {case.reason for case in CASES} | ELSEWHERE - {"ok", "backend_aborted", "client_gone"} == set(REFUSALS)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ok(aegis, backend, connect, source, method):
    client = connect(source=source)
    client.request(method, "/ok")
    response = client.read_response(method)
    check_every_response(response)
    assert (response.status, response.body) == (200, b"" if method == "HEAD" else b"hello")
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["reason"], line["status"], line["backend"]) == ("ok", 200, backend.name)
    check_connection(client, KEPT)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_bad_gateway_connect(method):
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **CONFIG)) as aegis:
        eventually(lambda: backend.probes, "the first probe, by which it is up")
        backend.stop_listening()
        with RawClient(aegis.address) as client:
            client.request(method, "/dead")
            response = client.read_response(method)
            check_refusal(response, "bad_gateway_connect", to_head=method == "HEAD")
            check_fields(response, "bad_gateway_connect", passed_limiter=True)
            line = aegis.wait_for_access(request_id=response["X-Request-ID"])
            assert (line["reason"], line["status"]) == ("bad_gateway_connect", 502)
            assert backend.address[0] not in json.dumps(response.fields) + response.body.decode()
            check_connection(client, KEPT)


@pytest.fixture(scope="module")
def backendless():
    """A process whose only backend was found down by its first probe."""
    host, port = free_port()
    with AegisProcess(config_for([{"url": f"http://{host}:{port}", "weight": 1}], **CONFIG)) as process:

        def told():
            with RawClient(process.address, source=loopback_host()) as client:
                return client.get("/").status == 503

        eventually(told, "its backend is down")
        yield process


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_backend(backendless, source, method):
    with RawClient(backendless.address, source=source) as client:
        client.request(method, "/nobody")
        response = client.read_response(method)
        check_refusal(response, "no_backend", to_head=method == "HEAD")
        check_fields(response, "no_backend", passed_limiter=True)
        assert 3000 < int(response["Retry-After"]) <= 3600 * 1.1 + 1, "the soonest probe"
        line = backendless.wait_for_access(request_id=response["X-Request-ID"])
        assert (line["reason"], line["status"], line["backend"]) == ("no_backend", 503, None)
        check_connection(client, KEPT)


def broken_off(connection, request):
    connection.send(answer(length=100), b"hello")
    connection.close()


def test_backend_aborted(aegis, backend, connect, source):
    backend.on("/aborted", broken_off)
    client = connect(source=source)
    client.request("GET", "/aborted")
    with pytest.raises(AbortedError) as aborted:
        client.read_response()
    assert aborted.value.response.body == b"hello"
    check_every_response(aborted.value.response)
    line = aegis.wait_for_access(path="/aborted")
    assert (line["reason"], line["status"], line["bytes_out"]) == ("backend_aborted", 200, 5)


def test_client_gone_before_the_answer_is_a_499_in_the_log(aegis, backend, connect, source):
    backend.on("/thinking", lambda connection, request: connection.wait_until_peer_leaves())
    client = connect(source=source)
    client.request("GET", "/thinking")
    backend.wait_for("/thinking")
    client.close()
    line = aegis.wait_for_access(path="/thinking")
    assert (line["reason"], line["status"], line["bytes_out"]) == ("client_gone", 499, 0)
    assert backend.asked("/thinking")[-1].connection.peer_left.wait(2), "its backend request is cancelled"


def endless(connection, request):
    connection.send(answer(length=1 << 30))
    while True:
        connection.send(bytes(65_536))
        gevent.sleep(0)


def test_client_gone_within_the_answer_is_logged_as_sent(aegis, backend, connect, source):
    backend.on("/endless", endless)
    client = connect(source=source)
    client.request("GET", "/endless")
    assert client.read_head().status == 200
    client.reset()
    line = aegis.wait_for_access(path="/endless")
    assert (line["reason"], line["status"]) == ("client_gone", 200)


def test_client_slow_within_the_answer_is_logged_as_sent_and_reset(aegis, backend, connect, source):
    backend.on("/unread", endless)
    client = connect(source=source, receive_buffer=4096)
    client.request("GET", "/unread")
    line = aegis.wait_for_access(path="/unread", within=5)
    assert (line["reason"], line["status"]) == ("client_slow", 200)
    assert client.read_to_end()[1] == "reset"


# what no request brings a healthy process to


class InProcess:
    """The stack as it is built, around an innermost app of the test."""

    def __init__(self, app):
        self.sink = LineSink()
        config = load_text("backends: [{url: 'http://10.0.0.5', weight: 1}]", "aegis.yml", {})
        stack = build_stack(app, config, Limiter(config.rate_limit, monotonic), self.sink, Counters(())).application
        listener = open_listener(loopback_host(), 0)
        settings = WireSettings(5, 5, 5, 8192, LIMIT, 10)
        self.server = Server(listener, stack, settings, Deadlines(), RequestHeads())
        self.server.start()
        self.client = RawClient(listener.getsockname())

    def ask(self, method, reason, then):
        self.client.request(method, "/", host="localhost")
        response = self.client.read_response(method)
        check_refusal(response, reason, to_head=method == "HEAD")
        check_fields(response, reason, passed_limiter=True)
        (line,) = eventually(lambda: self.sink.lines, "the access line")
        assert json.loads(line)["reason"] == reason
        assert json.loads(line)["status"] == response.status == ANSWERS[Reason(reason)].status
        if then == CLOSED:
            assert self.client.ends_silently(3)
        else:
            assert self.client.get("/next", host="localhost").status == response.status

    def close(self):
        self.client.close()
        self.server.stop(timeout=1)


@pytest.fixture
def in_process():
    made = []

    def start(app):
        made.append(InProcess(app))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_internal_error(in_process, method):
    def buggy(environ, start_response):
        if environ[KEY].reason is not Reason.OK:
            return refuse(environ[KEY], start_response)
        raise ZeroDivisionError

    in_process(buggy).ask(method, "internal_error", CLOSED)
