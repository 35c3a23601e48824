"""The outermost layer alone: one line per request, and the recovery."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from time import monotonic, time
from types import SimpleNamespace

import pytest

from aegis.context import KEY
from aegis.logs.access import BATCH, AccessLog
from aegis.reasons import BackendError, ClientGoneError, DeadlinePassedError, Reason
from tests.security.layers import Answered, innermost, request, through
from tests.support.contract import ACCESS_FIELDS
from tests.support.line_sink import LineSink


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level(logging.INFO, "aegis")


def uncounted(context, seconds):
    pass


def logged(context, app=innermost, *, text=False):
    """The line of a request that went through the layer and is over."""
    sink = LineSink()
    layer = AccessLog(app, sink.put, uncounted, text=text)
    sink.before_flush = layer.flush
    through(layer, context)
    assert sink.lines == []  # it is written when the exchange is over, not before
    context.on_end(context)
    (line,) = sink.lines
    return line


def finished(line="GET /a?secret=1 HTTP/1.1", *fields, **parts):
    """A context as wire and proxy leave it."""
    context = request(line, *fields, **parts)
    context.status, context.bytes_in, context.bytes_out = 200, 3, 12
    context.attempts, context.backend_ms = 2, 1.5
    context.backend = SimpleNamespace(name="a:8081")
    return context


def test_a_line_has_every_field_of_the_specification():
    entry = json.loads(logged(finished("POST /a?b HTTP/1.1", "Content-Length: 3")))
    assert set(entry) >= ACCESS_FIELDS | {"level", "message"}
    wanted = {
        "level": "INFO",
        "request_id": "0" * 32,
        "client": "203.0.x.x",
        "method": "POST",
        "host": "a.test",
        "path": "/a",
        "protocol": "HTTP/1.1",
        "status": 200,
        "reason": "ok",
        "bytes_in": 3,
        "bytes_out": 12,
        "backend": "a:8081",
        "backend_ms": 1.5,
        "retries": 1,
    }
    assert {name: entry[name] for name in wanted} == wanted
    assert entry["duration_ms"] >= 0


def test_a_request_without_a_backend_has_null_there():
    context = finished(reason=Reason.BAD_FIELD)
    context.backend, context.backend_ms, context.attempts = None, None, 0
    entry = json.loads(logged(context))
    assert (entry["backend"], entry["backend_ms"], entry["retries"]) == (None, None, 0)
    assert entry["reason"] == "bad_field"


def test_an_http_10_request_says_so():
    assert json.loads(logged(finished("GET / HTTP/1.0")))["protocol"] == "HTTP/1.0"


def test_nothing_secret_is_in_a_line():
    fields = ["Authorization: Bearer tok3n", "Cookie: sid=c00kie", "X-Api-Key: k3y"]
    for text in (False, True):
        line = logged(finished("GET /a?q=qu3ry#".rstrip("#") + " HTTP/1.1", *fields), text=text)
        for secret in (b"tok3n", b"c00kie", b"k3y", b"qu3ry", b"203.0.113.9"):
            assert secret not in line


@pytest.mark.parametrize(
    "path",
    ['/"', "/\\", '/"}{"level":"ERROR"', "/<>^{|}`", "/%00%0a", "/\\u0041\\n", "/'", "/" + "a" * 7000, '/"' * 3000],
)
def test_a_line_is_valid_json_for_hostile_paths_and_fits_into_a_pipe(path):
    line = logged(finished(f"GET {path} HTTP/1.1"))
    entry = json.loads(line)
    assert entry["path"][:1000] == path[:1000]
    assert line.count(b"\n") == 1
    assert len(line) <= 4096


def test_the_text_format_has_the_same_fields():
    line = logged(finished('GET /a"b HTTP/1.1'), text=True).decode()
    time, level, message, pairs = line.rstrip("\n").split(" ", 3)
    assert (level, message) == ("INFO", "request")
    assert time.endswith("Z")
    names = {pair.partition("=")[0] for pair in pairs.split(" ")}
    assert names >= ACCESS_FIELDS - {"time"}
    assert "status=200" in pairs
    assert 'path="/a\\"b"' in pairs


@pytest.mark.parametrize(("enabled", "lines"), [(True, 1), (False, 0)])
def test_a_level_above_info_makes_no_access_lines_but_all_is_counted(enabled, lines):
    context, sink, counted = finished(), LineSink(), []
    layer = AccessLog(innermost, sink.put, lambda *ended: counted.append(ended), enabled=enabled)
    sink.before_flush = layer.flush
    through(layer, context)
    assert counted == []
    before = monotonic()
    context.started = before - 1
    context.on_end(context)
    layer.flush()
    ((who, seconds),) = counted
    assert who is context
    assert 1 <= seconds <= monotonic() - before + 1
    assert len(sink.lines) == lines


def test_a_batch_is_made_when_it_is_full_and_each_line_has_the_time_of_its_end():
    batches = []
    layer = AccessLog(innermost, lambda lines, count: batches.append((lines, count)), uncounted)
    before = time()
    for _ in range(BATCH + 1):
        context = finished()
        through(layer, context)
        context.on_end(context)
    assert [count for _, count in batches] == [BATCH]
    context.ended -= 1000  # of the one that is left
    layer.flush()
    times = [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in batches[0][0].splitlines()]
    assert times == sorted(times)
    assert before - 0.002 <= times[0] <= times[-1] <= time()
    (left,) = batches[1][0].splitlines()
    assert before - 1001 < datetime.fromisoformat(json.loads(left)["time"]).timestamp() < time() - 999
    layer.flush()
    assert len(batches) == 2


def test_a_line_that_is_no_unicode_does_not_cost_the_others_of_its_batch():
    sink = LineSink()
    layer = AccessLog(innermost, sink.put, uncounted)
    for path in ("/a", "/\ud800", "/b"):
        context = finished()
        context.path = path
        context.on_end = layer.keep
        context.on_end(context)
    layer.flush()
    assert [json.loads(line)["path"] for line in sink.lines] == ["/a", "/\ud800", "/b"]


# the recovery


def failing(error):
    """An app with a bug in what it does for good requests; refusals it answers."""

    def app(environ, start_response):
        if environ[KEY].reason is Reason.OK:
            raise error
        return innermost(environ, start_response)

    return app


def recovered(app, context):
    """As `through`, for a layer that hands on exc_info by its name."""
    answered = Answered()

    def start_response(status, fields, exc_info=None):
        answered.status, answered.fields, answered.exc_info = status, fields, exc_info

    answered.body = b"".join(map(bytes, AccessLog(app, print, uncounted)({KEY: context}, start_response)))
    return answered


def test_a_bug_below_is_answered_with_500_and_tells_the_client_nothing(caplog):
    context = request()
    answered = recovered(failing(ValueError("the secret of the house")), context)
    assert answered.status == "500 Internal Server Error"
    assert answered.body == b'{"error":"internal server error"}'
    assert answered.exc_info  # so that a head that was set already is replaced
    assert context.reason is Reason.INTERNAL_ERROR
    assert "the secret of the house" in caplog.text
    assert caplog.records[0].levelname == "ERROR"


@pytest.mark.parametrize("error", [ClientGoneError("x"), DeadlinePassedError(), ConnectionResetError()])
def test_a_client_that_is_gone_is_left_to_the_wire(error):
    with pytest.raises(type(error)):
        recovered(failing(error), request())


def test_a_backend_error_that_nobody_caught_is_a_bug_of_ours():
    context = request()
    recovered(failing(BackendError(Reason.BAD_GATEWAY_RESET, "x")), context)
    assert context.reason is Reason.INTERNAL_ERROR
