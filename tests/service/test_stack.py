"""The layers as they are built, around an app of the test, behind the real server."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from time import monotonic

import gevent
import pytest

from aegis.config.load import load_text
from aegis.context import KEY
from aegis.http1.request_head import RequestHeads
from aegis.metrics.counters import Counters
from aegis.net.deadlines import Deadlines
from aegis.proxy.app import refuse
from aegis.ratelimit.limiter import Limiter
from aegis.reasons import Reason
from aegis.service.stack import build_stack
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.contract import check_every_response, check_refusal
from tests.support.line_sink import LineSink
from tests.support.poll import eventually
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient

CONFIG = """
server: {allowed_hosts: [example.test], max_body_bytes: 1000}
backends: [{url: "http://10.0.0.5:80", weight: 1}]
"""


class Served:
    """A stack with a client in front of it and its access lines."""

    def __init__(self, app, text=CONFIG):
        self.sink = LineSink()
        config = load_text(text, "aegis.yml", {})
        settings = WireSettings(5.0, 5.0, 5.0, 8192, config.server.max_body_bytes, 100)
        self.listener = open_listener(loopback_host(), 0)
        limiter = Limiter(config.rate_limit, monotonic)
        self.counters = Counters(config.server.allowed_methods)
        stack = build_stack(app, config, limiter, self.sink, self.counters).application
        self.server = Server(self.listener, stack, replace(settings), Deadlines(), RequestHeads())
        self.server.start()
        self.client = RawClient(self.listener.getsockname())

    def close(self):
        self.client.close()
        self.server.stop(timeout=1)

    @property
    def lines(self):
        return self.sink.lines

    def line(self, number=0):
        """The access line of one request."""
        return json.loads(eventually(lambda: self.lines[number:], "an access line")[0])


@pytest.fixture
def serve(caplog):
    caplog.set_level(logging.INFO, "aegis")
    served = []

    def start(app, *args):
        served.append(Served(app, *args))
        return served[-1]

    yield start
    for each in served:
        each.close()


def innermost(behave):
    """An app that answers refusals from the table, as the proxy does, and leaves all else to `behave`."""

    def app(environ, start_response):
        if environ[KEY].reason is not Reason.OK:
            return refuse(environ[KEY], start_response)
        return behave(environ, start_response)

    return app


@innermost
def good(environ, start_response):
    start_response("200 OK", [("Server", "theirs"), ("X-Powered-By", "x"), ("Content-Type", "text/plain")])
    return [b"hello"]


@innermost
def buggy(environ, start_response):
    raise ValueError("the secret of the house")


@innermost
def buggy_after_its_head(environ, start_response):
    start_response("200 OK", [("Set-Cookie", "half=done")])
    raise ValueError("the secret of the house")


def test_a_good_answer_has_the_security_fields_and_an_access_line(serve):
    served = serve(good)
    response = served.client.get("/a?b")
    assert response.body == b"hello"
    check_every_response(response)
    line = served.line()
    assert (line["status"], line["reason"], line["path"], line["bytes_out"]) == (200, "ok", "/a", 5)
    assert line["request_id"] == response["X-Request-ID"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"GET  / HTTP/1.1\r\n\r\n", "bad_request_line"),
        (b"GET / HTTP/1.1\r\nHost: example.test\r\nX : y\r\n\r\n", "bad_field"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_host"),
        (b"GET /# HTTP/1.1\r\nHost: example.test\r\n\r\n", "bad_target"),
        (b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "bad_framing"),
        (b"GET / HTTP/1.1\r\nHost: example.test\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n", "bad_upgrade"),
        (b"GET /../ HTTP/1.1\r\nHost: example.test\r\n\r\n", "path_traversal"),
        (b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "host_not_allowed"),
        (b"TRACE / HTTP/1.1\r\nHost: example.test\r\n\r\n", "method_not_allowed"),
        (b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1001\r\n\r\n", "body_too_large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", "target_too_long"),
        (b"GET / HTTP/1.1\r\nHost: example.test\r\nExpect: x\r\n\r\n", "expectation_failed"),
        (b"GET / HTTP/1.1\r\nHost: example.test\r\nX: " + b"a" * 9000 + b"\r\n\r\n", "head_too_large"),
    ],
)
def test_every_refusal_leaves_by_the_same_door(serve, raw, reason):
    served = serve(good)
    served.client.send(raw)
    check_refusal(served.client.read_response(), reason)
    assert served.line()["reason"] == reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "host_not_allowed"),
        (b"HEAD /.. HTTP/1.1\r\nHost: example.test\r\n\r\n", "path_traversal"),
        (b"HEAD / HTTP/1.1\r\nHost : example.test\r\n\r\n", "bad_field"),
        (b"HEAD / HTTP/1.1\r\n\r\n", "bad_host"),
        (b"HEAD / HTTP/1.2\r\nHost: example.test\r\n\r\n", "bad_request_line"),
    ],
)
def test_a_refusal_to_head_is_the_same_without_the_body(serve, raw, reason):
    served = serve(good)
    served.client.send(raw)
    check_refusal(served.client.read_response("HEAD"), reason, to_head=True)
    assert served.client.read_to_end()[0] == b""


@pytest.mark.parametrize("app", [buggy, buggy_after_its_head])
def test_a_bug_of_ours_is_a_500_with_every_field_of_a_refusal(serve, app, caplog):
    served = serve(app)
    served.client.request("GET", "/")
    response = served.client.read_response()
    check_refusal(response, "internal_error")
    assert "Set-Cookie" not in response
    line = served.line()
    assert (line["status"], line["reason"]) == (500, "internal_error")
    assert "the secret of the house" in caplog.text
    assert "secret" not in json.dumps(line)


def test_a_bug_costs_one_request_and_not_the_server(serve):
    served = serve(buggy)
    served.client.request("GET", "/")
    served.client.read_response()
    with RawClient(served.listener.getsockname()) as other:
        other.request("GET", "/")
        assert other.read_response().status == 500


def test_the_text_format_is_one_line_too(serve):
    served = serve(good, CONFIG + "logging: {format: text}\n")
    served.client.get('/a"b')
    (line,) = eventually(lambda: served.lines, "an access line")
    assert b" INFO request " in line
    assert line.count(b"\n") == 1


def test_a_client_that_leaves_before_the_answer_is_logged_as_499(serve):
    word = gevent.event.Event()

    @innermost
    def slow(environ, start_response):
        word.wait(5)
        start_response("200 OK", [])
        return iter([b"x" * 1_000_000] * 20)

    served = serve(slow)
    served.client.request("GET", "/")
    eventually(served.server.busy, "a request under way")
    served.client.reset()
    gevent.sleep(0.01)
    word.set()
    line = served.line()
    assert line["reason"] == "client_gone"
    assert line["status"] in {200, 499}  # 499 when no byte of the answer went out


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 1), ("warn", 0), ("error", 0)])
def test_access_lines_are_of_level_info(serve, level, lines):
    served = serve(good, CONFIG + f"logging: {{level: {level}}}\n")
    assert served.client.get("/").status == 200
    served.client.get("/second")
    assert len(served.lines) in range(lines, 3 * lines + 1)
