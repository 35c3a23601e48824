"""Start, stop and failure of the process itself."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import time

import gevent
import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for, refuses, run_aegis
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import AbortedError, ConnectionEndedError, RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, chunked, held, hold

pytestmark = pytest.mark.process

COMPLETE = "Aegis shutdown complete"
F_SETPIPE_SZ = 1031


@pytest.fixture(scope="module")
def backend():
    with ScriptedBackend() as scripted:
        yield scripted
    assert not scripted.faults


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signal_stops_it_with_exit_0_and_says_so_last(backend, number):
    with AegisProcess(config_for([backend])) as aegis:
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        assert aegis.stop(number) == 0
        assert aegis.log[-1]["message"] == COMPLETE
        assert aegis.log[-1]["level"].upper() == "INFO"
        assert refuses(aegis.address)
        assert aegis.errors == ""


def test_start_line_names_what_was_started(backend):
    with AegisProcess(config_for([backend])) as aegis:
        host, port = aegis.address
        assert aegis.stop() == 0
    version = run_aegis("--version").stdout.split()[-1]
    starts = [text for text in aegis.lines if f"{host}:{port}" in text and version in text]
    assert len(starts) == 1, aegis.lines
    assert backend.name in starts[0]
    assert "aegis.yml" in starts[0]


def test_a_start_imports_no_more_than_it_needs_and_leaves_nothing_for_the_first_request(backend):
    """Imports are nearly all of a start's time."""
    with AegisProcess(config_for([backend]), env={"PYTHONPROFILEIMPORTTIME": "1"}) as aegis:
        eventually(aegis.messages, "the start line")
        at_start = imported(aegis)
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        assert aegis.stop() == 0
        assert imported(aegis) == at_start
    assert "aegis.service.lifecycle" in at_start
    assert at_start.isdisjoint({"aegis.service.several", "aegis.process.supervisor", "blessed", "prometheus_client"})


def imported(aegis):
    """The modules that it has said to have imported; each line is `import time: µs | µs | name`."""
    return {line.rpartition("|")[2].strip() for line in aegis.errors.splitlines() if line.startswith("import time:")}


def test_request_in_flight_is_served_to_its_end_with_connection_close(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        release = held(backend, client)
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.1)
        deadline = time.monotonic() + 3
        while not refuses(aegis.address):
            assert time.monotonic() < deadline, "listening stops at once"
        release.set()
        response = client.read_response()
        assert (response.status, response.body) == (200, b"hello")
        assert "close" in response.tokens("Connection")
        assert client.ends_silently()
        assert aegis.wait() == 0
        assert aegis.log[-1]["message"] == COMPLETE


def test_idle_connection_is_closed_and_does_not_hold_the_stop(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        assert client.get("/").status == 200
        started = time.monotonic()
        assert aegis.stop() == 0
        assert time.monotonic() - started < 5
        assert client.ends_silently()


def test_request_that_comes_within_the_linger_is_still_served(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        assert client.get("/").status == 200
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.05)
        response = client.get("/late")
        assert response.status == 200
        assert "close" in response.tokens("Connection")
        assert aegis.wait() == 0


def test_second_signal_forces_exit_1(backend):
    never = Event()
    backend.on("/never", hold(never, HELLO))
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        client.request("GET", "/never")
        backend.wait_for("/never")
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.3)
        assert aegis.running
        assert aegis.stop(signal.SIGTERM, within=3) == 1
    never.set()


def test_shutdown_timeout_forces_exit_1(backend):
    never = Event()
    backend.on("/never-2", hold(never, HELLO))
    config = config_for([backend], server={"shutdown_timeout": "500ms"})
    with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
        client.request("GET", "/never-2")
        backend.wait_for("/never-2")
        started = time.monotonic()
        assert aegis.stop(within=5) == 1
        assert time.monotonic() - started > 0.45
    never.set()


def test_event_stream_is_aborted_by_a_stop_and_never_ended_cleanly(backend):
    def script(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream")], end=b""))
        connection.wait_until_peer_leaves(15)

    backend.on("/events", script)
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address, timeout=4) as client:
        client.request("GET", "/events")
        assert client.read_head().status == 200
        assert client.read_chunk() == b"data: 1\n\n"
        aegis.signal(signal.SIGTERM)
        with pytest.raises((AbortedError, ConnectionEndedError)):
            client.read_chunk()
        assert aegis.wait() == 0
        line = aegis.wait_for_access(path="/events")
        assert (line["status"], line["reason"], line["detail"]) == (200, "ok", "closed by the stop")


def test_stalled_log_reader_delays_no_request(backend):
    with AegisProcess(config_for([backend]), read_output=False) as aegis:
        fcntl.fcntl(aegis.process.stdout.fileno(), F_SETPIPE_SZ, 4096)
        worst = 0.0
        with RawClient(aegis.address) as client:
            for number in range(600):
                started = time.monotonic()
                assert client.get(f"/stalled/{number}").status == 200
                worst = max(worst, time.monotonic() - started)
        assert worst < 0.5
        aegis.signal(signal.SIGTERM)
        with contextlib.suppress(Exception):
            aegis.process.wait(1)
        reader = gevent.spawn(aegis.process.stdout.read)  # the reader is back
        assert aegis.wait() in {0, 1}
        reader.join(5)


def test_stalled_log_reader_does_not_keep_it_from_stopping(backend):
    with AegisProcess(config_for([backend]), read_output=False) as aegis:
        fcntl.fcntl(aegis.process.stdout.fileno(), F_SETPIPE_SZ, 4096)
        with RawClient(aegis.address) as client:
            for _ in range(100):
                client.get("/")
        aegis.stop(within=10)
        assert not aegis.running


def test_ipv6_and_default_hosts_reach_the_backend(backend):
    """Without allowed_hosts: the backends' names, the loopback names, the listen host."""
    config = config_for([backend], server={"allowed_hosts": []})
    with AegisProcess(config) as aegis:
        host, port = aegis.address
        good = ["localhost", f"localhost:{port}", "127.0.0.1", "[::1]", f"[::1]:{port}", host, backend.address[0]]
        for name in good:
            with RawClient(aegis.address) as client:
                assert client.get("/", host=name).status == 200, name
        for name in ["example.test", "127.0.0.1.nip.test", "10.0.0.1"]:
            with RawClient(aegis.address) as client:
                assert client.get("/", host=name).status == 400, name
        assert aegis.stop() == 0


def test_star_in_allowed_hosts_allows_every_well_formed_host(backend):
    config = config_for([backend], server={"allowed_hosts": ["*"]})
    with AegisProcess(config) as aegis:
        with RawClient(aegis.address) as client:
            assert client.get("/", host="anything.test").status == 200
            client.request("GET", "/", host="a@b")
            assert client.read_response().status == 400
        assert aegis.stop() == 0


def test_allowed_methods_of_the_configuration_hold_but_trace_and_connect_never(backend):
    config = config_for([backend], server={"allowed_methods": ["GET", "PURGE"]})
    with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
        for method, status in {"GET": 200, "PURGE": 200, "POST": 405, "TRACE": 405, "CONNECT": 405}.items():
            client.request(method, "/method")
            response = client.read_response()
            assert response.status == status, method
            if status == 405:
                assert {one.strip() for one in response["Allow"].split(",")} == {"GET", "PURGE"}
        assert [request.method for request in backend.asked("/method")] == ["GET", "PURGE"]


def test_variables_are_interpolated_and_durations_read(backend):
    config = config_for([backend], server={"read_timeout": "1m30s", "port": "${AEGIS_TEST_PORT:-1}"})
    host, port = free_port()
    config["server"]["host"] = host
    aegis = AegisProcess(config, env={"AEGIS_TEST_PORT": str(port)})
    aegis.address = (host, port)
    with aegis, RawClient(aegis.address) as client:
        assert client.get("/").status == 200


def test_log_level_error_keeps_the_course_quiet(backend):
    with AegisProcess(config_for([backend]), "--log-level", "error") as aegis:
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        assert aegis.stop() == 0
        assert aegis.lines == []


def test_answer_names_no_backend_detail(backend):
    """A 502 says nothing of why; the log does."""
    backend.on("/broken", lambda connection, request: connection.close())
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        response = client.get("/broken")
        assert response.body == b'{"error":"bad gateway"}'
        assert backend.address[0].encode() not in response.head
        assert aegis.stop() == 0
    assert any(backend.name in text for text in aegis.lines)


def test_large_answer_is_complete_though_the_stop_comes_first(backend):
    backend.on("/large", answer(body=bytes(4 << 20)))
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address, receive_buffer=65536) as client:
        client.request("GET", "/large")
        head = client.read_head()
        aegis.signal(signal.SIGTERM)
        left = int(head["Content-Length"])
        while left:
            data = client.receive()
            assert data
            left -= len(data)
        assert aegis.wait() == 0
