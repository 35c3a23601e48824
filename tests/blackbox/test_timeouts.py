"""Each timeout of the specification, made short. Upper bounds are loose: the machine may be busy."""

from __future__ import annotations

import socket
import time

import gevent
import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_refusal
from tests.support.poll import eventually
from tests.support.ports import loopback_host
from tests.support.raw_client import AbortedError, ConnectionEndedError, RawClient
from tests.support.scripted_backend import HELLO, answer, chunk, chunked, hold

CONFIG = {
    "server": {"read_timeout": "400ms", "write_timeout": "400ms", "idle_timeout": "500ms"},
    "transport": {
        "connect_timeout": "400ms",
        "response_header_timeout": "500ms",
        "read_timeout": "400ms",
        "stream_idle_timeout": "1200ms",
        "idle_conn_timeout": "400ms",
    },
}
LATE = 2.5  # seconds; nothing here may take longer


@pytest.fixture
def stopwatch():
    start = time.monotonic()
    return lambda: time.monotonic() - start


def test_head_that_stops_is_answered_408(aegis, client, stopwatch):
    client.send(b"GET /slow HTTP/1.1\r\nHost: example.test\r\n")
    response = client.read_response()
    check_refusal(response, "head_timeout")
    assert client.ends_silently()
    assert 0.35 < stopwatch() < LATE
    assert aegis.wait_for_access(request_id=response["X-Request-ID"])["reason"] == "head_timeout"


def test_head_that_drips_is_answered_408_all_the_same(client, stopwatch):
    """Slowloris: the bound is on the head, not on the gap between two bytes."""
    for byte in b"GET / HTTP/1.1\r\nHost: example.test\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
        client.send(bytes([byte]))
        if client.readable():
            break
        gevent.sleep(0.05)
    check_refusal(client.read_response(), "head_timeout")
    assert stopwatch() < LATE


def test_second_head_on_a_connection_is_bounded_from_its_first_byte(client, stopwatch):
    assert client.get("/first").status == 200
    gevent.sleep(0.25)
    client.send(b"GET / HTTP/1.1\r\nHo")
    gevent.sleep(0.25)
    client.send(b"st: example.test\r\n\r\n")
    assert client.read_response().status == 200


def test_fresh_connection_without_a_byte_is_closed_silently(client, stopwatch):
    assert client.ends_silently(LATE)
    assert stopwatch() > 0.35


def test_empty_line_alone_is_no_request_and_is_closed_at_the_same_time(client, stopwatch):
    client.send(b"\r\n")
    client.socket.settimeout(LATE)
    assert client.read_to_end()[1] == "eof"


def test_idle_connection_is_closed_silently(aegis, client, stopwatch):
    served = client.get("/a")
    aegis.wait_for_access(request_id=served["X-Request-ID"])
    lines = len(aegis.access_lines())
    assert client.ends_silently(LATE)
    assert stopwatch() > 0.45
    assert len(aegis.access_lines()) == lines, "an idle end is no request"


@pytest.mark.parametrize(
    "start",
    [b"Content-Length: 10\r\n\r\nsome", b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"],
    ids=["length", "nothing", "chunked"],
)
def test_body_that_stops_is_answered_408_and_never_complete_at_the_backend(aegis, backend, client, start, stopwatch):
    client.send(b"POST /gap HTTP/1.1\r\nHost: example.test\r\n" + start)
    response = client.read_response()
    check_refusal(response, "body_timeout")
    assert client.ends_silently()
    assert 0.35 < stopwatch() < LATE
    assert aegis.wait_for_access(request_id=response["X-Request-ID"])["reason"] == "body_timeout"
    assert not any(request.complete for request in backend.asked("/gap"))


def test_body_with_pauses_shorter_than_the_bound_goes_through(client):
    client.send(b"POST /pauses HTTP/1.1\r\nHost: example.test\r\nContent-Length: 8000\r\n\r\n")
    for _ in range(8):
        client.send(b"a" * 1000)
        gevent.sleep(0.1)
    assert client.read_response().status == 200


def test_body_that_drips_below_1_kib_a_second_is_closed(aegis, client, stopwatch):
    client.send(b"POST /drip HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000\r\n\r\n")
    while not client.readable():
        assert stopwatch() < LATE
        client.send(b"a")
        gevent.sleep(0.05)
    response = client.read_response()
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    check_refusal(response, line["reason"])
    assert line["reason"] == "client_slow"


def test_reader_that_takes_nothing_is_closed(aegis, backend, connect):
    left = []

    def script(connection, request):
        try:
            connection.send(answer(length=1 << 30))
            for _ in range(1 << 14):
                connection.send(bytes(65536))
        except OSError:
            left.append(time.monotonic())

    backend.on("/stalled", script)
    client = connect(receive_buffer=16384)
    client.request("GET", "/stalled")
    eventually(lambda: left, "the backend's send fails", within=5)
    line = aegis.wait_for_access(path="/stalled")
    assert (line["status"], line["reason"]) == (200, "client_slow")


def test_reader_that_makes_progress_lives_on(aegis, backend, connect):
    size = 4 << 20
    backend.on("/progress", answer(body=bytes(size)))
    client = connect(receive_buffer=65536)
    client.request("GET", "/progress")
    assert client.read_head().status == 200
    started, got = time.monotonic(), len(client.buffer)
    client.buffer.clear()
    while got < size:
        data = client.receive(262144)
        assert data, f"closed after {got} bytes"
        got += len(data)
        gevent.sleep(0.04)
    assert time.monotonic() - started > 0.5, "longer than the bound on a stall"


def test_silent_backend_is_a_timeout_after_response_header_timeout(aegis, backend, client, stopwatch):
    never = Event()
    backend.on("/silent", hold(never, HELLO))
    client.request("POST", "/silent", body=b"x")
    response = client.read_response()
    check_refusal(response, "backend_timeout")
    assert 0.45 < stopwatch() < LATE
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["status"], line["reason"]) == (502, "backend_timeout")
    assert client.get("/next").status == 200
    never.set()
    assert backend.asked("/silent")[0].connection.peer_left.wait(2), "its connection is not kept"


def test_response_header_timeout_runs_from_the_last_request_byte(backend, client):
    client.send(b"POST /long-upload HTTP/1.1\r\nHost: example.test\r\nContent-Length: 8000\r\n\r\n")
    for _ in range(8):
        client.send(b"a" * 1000)
        gevent.sleep(0.12)
    assert client.read_response().status == 200


def test_gap_in_a_response_body_aborts_it(aegis, backend, client, stopwatch):
    never = Event()

    def script(connection, request):
        connection.send(answer(length=100), b"hello")
        never.wait(10)

    backend.on("/body-gap", script)
    client.request("GET", "/body-gap")
    with pytest.raises(AbortedError) as aborted:
        client.read_response()
    never.set()
    assert aborted.value.response.body == b"hello"
    assert 0.35 < stopwatch() < LATE
    line = aegis.wait_for_access(path="/body-gap")
    assert line["status"] == 200
    assert line["reason"] in {"backend_aborted", "backend_timeout"}


def test_event_stream_may_pause_longer_than_read_timeout(backend, client):
    def script(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream")], end=b""))
        gevent.sleep(0.8)
        connection.send(chunk(b"data: 2\n\n"), b"0\r\n\r\n")

    backend.on("/events", script)
    assert client.get("/events").body == b"data: 1\n\ndata: 2\n\n"


def test_event_stream_that_pauses_longer_than_stream_idle_timeout_is_aborted(backend, client, stopwatch):
    def script(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream; charset=utf-8")], end=b""))
        connection.wait_until_peer_leaves()

    backend.on("/dead-events", script)
    client.request("GET", "/dead-events")
    with pytest.raises((AbortedError, ConnectionEndedError)):
        client.read_response()
    assert 1.1 < stopwatch() < LATE + 1


def test_parked_backend_connection_ends_after_idle_conn_timeout(backend, client):
    client.get("/parked")
    connection = backend.asked("/parked")[-1].connection
    assert connection.peer_left.wait(LATE)


def test_client_that_waits_for_its_answer_is_not_timed_out_as_idle(backend, connect):
    """read_timeout and idle_timeout do not run while the backend thinks."""
    release = Event()
    backend.on("/thinking", hold(release, HELLO))
    client = connect()
    client.request("GET", "/thinking")
    backend.wait_for("/thinking")
    gevent.sleep(0.42)
    release.set()
    assert client.read_response().status == 200


def test_address_that_answers_no_connect_is_given_up_after_connect_timeout(stopwatch):
    """A listener whose queue is full drops the SYN, as a dead host would."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((loopback_host(), 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        host, port = full.getsockname()
        config = config_for([{"url": f"http://{host}:{port}", "weight": 1}], **CONFIG)
        with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
            started = time.monotonic()
            response = client.get("/unreachable")
            assert 0.35 < time.monotonic() - started < LATE
            line = aegis.wait_for_access(request_id=response["X-Request-ID"])
            assert line["reason"] in {"bad_gateway_connect", "backend_timeout"}
            check_refusal(response, line["reason"])
