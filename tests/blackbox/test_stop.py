"""The graceful stop under load: nobody who is being served notices, and nothing is left behind."""

from __future__ import annotations

import signal
import time

import gevent
import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.poll import eventually
from tests.support.raw_client import AbortedError, ConnectionEndedError, RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, chunked, held, hold

pytestmark = pytest.mark.process


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def test_the_drain_says_each_second_what_it_waits_for(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        release = held(backend, client)
        aegis.signal(signal.SIGTERM)
        eventually(lambda: aegis.messages().count("draining") == 2, "two lines of progress")
        lines = [line for line in aegis.log if line["message"] == "draining"]
        assert [line["in_flight"] for line in lines] == [1, 1]
        assert lines[0]["seconds_left"] == lines[1]["seconds_left"] + 1 == 29
        release.set()
        assert client.read_response().status == 200
        assert aegis.wait() == 0


def test_it_goes_on_listening_for_shutdown_delay(backend):
    config = config_for([backend], server={"shutdown_delay": "700ms"})
    with AegisProcess(config) as aegis:
        started = time.monotonic()
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.3)
        with RawClient(aegis.address) as client:
            response = client.get("/late")
            assert response.status == 200
            assert "close" not in response.tokens("Connection")
        assert aegis.wait() == 0
        assert time.monotonic() - started >= 0.7


def test_a_second_signal_ends_the_delay_too(backend):
    with AegisProcess(config_for([backend], server={"shutdown_delay": "30s"})) as aegis:
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.2)
        assert aegis.stop(signal.SIGTERM, within=3) == 1


def test_a_forced_stop_aborts_what_would_look_complete(backend):
    """A body that ends with the close would pass for whole: it has to end with a reset."""
    release = Event()

    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        release.wait(20)

    backend.on("/endless", script)
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        client.send(b"GET /endless HTTP/1.0\r\nHost: example.test\r\n\r\n")
        assert client.read_head().status == 200
        eventually(lambda: client.receive() == b"half", "the half that came")
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.3)
        assert aegis.stop(signal.SIGTERM, within=3) == 1
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
        line = aegis.wait_for_access(path="/endless")
        assert (line["reason"], line["detail"]) == ("internal_error", "the stop was forced")
        assert "Aegis shutdown forced" in aegis.messages()
    release.set()


def test_a_forced_stop_says_of_what_it_cuts_off_that_it_was_ours(backend):
    """The client saw no answer; the line says what it would have been told."""
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        release = held(backend, client)
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.3)
        assert aegis.stop(signal.SIGTERM, within=3) == 1
        line = aegis.wait_for_access(path="/held")
        told = line["status"], line["reason"], line["detail"]
        assert told == (500, "internal_error", "the stop was forced")
    release.set()


def test_an_event_stream_lives_for_half_of_the_timeout_while_others_are_in_flight(backend):
    def events(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream")], end=b""))
        connection.wait_until_peer_leaves(15)

    release = Event()
    backend.on("/events", events)
    backend.on("/held", hold(release, HELLO))
    config = config_for([backend], server={"shutdown_timeout": "3s"})
    with AegisProcess(config) as aegis, RawClient(aegis.address) as stream, RawClient(aegis.address) as other:
        stream.request("GET", "/events")
        assert stream.read_head().status == 200
        stream.read_chunk()
        other.request("GET", "/held")
        backend.wait_for("/held")
        started = time.monotonic()
        aegis.signal(signal.SIGTERM)
        with pytest.raises((AbortedError, ConnectionEndedError)):
            stream.read_chunk()
        assert 1.3 < time.monotonic() - started < 2.5
        release.set()
        assert other.read_response().status == 200
        assert aegis.wait() == 0


def test_connections_that_the_kernel_holds_are_served_not_reset(backend):
    """They wait in the accept queue while the process is busy; closing the listener would reset them."""
    with AegisProcess(config_for([backend])) as aegis:
        aegis.signal(signal.SIGSTOP)
        clients = [RawClient(aegis.address) for _ in range(20)]
        for client in clients:
            client.request("GET", "/queued")
        aegis.signal(signal.SIGTERM)
        aegis.signal(signal.SIGCONT)
        for client in clients:
            response = client.read_response()
            assert response.status == 200
            client.close()
        assert aegis.wait() == 0
