"""WebSocket through the real program, between a client and a server of a library that knows nothing of us."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import gevent
import pytest
import trustme
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect as websocket

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_every_response
from tests.support.poll import eventually, settled
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient, wait_bytes
from tests.support.scripted_backend import HELLO, answer
from tests.support.websocket_server import BYE, WebSocketServer

ANY_HOST = {"server": {"allowed_hosts": ["*"]}}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
]
ACCEPT = ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
SWITCHING = answer(
    101, [("Upgrade", "websocket"), ("Connection", "Upgrade"), ACCEPT, ("X-Powered-By", "x")], length=None
)
IDLE_TUNNELS = 1000


@pytest.fixture(scope="module")
def server():
    with WebSocketServer() as running:
        yield running


@pytest.fixture(scope="module")
def echoing(server):
    with AegisProcess(config_for([{"url": server.url, "weight": 1}], **ANY_HOST)) as process:
        yield process
        assert process.stop() == 0, process.errors


@contextlib.contextmanager
def talk(aegis, path="/echo"):
    """A client of the library. It masks with its own socket calls, so a kilobyte is as good as ten megabytes."""
    host, port = aegis.address
    with websocket(f"ws://{host}:{port}{path}", proxy=None, max_size=None, compression=None) as client:
        yield client


# a library on both sides


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 10 << 20])
def test_messages_of_any_size_come_back_as_they_were(echoing, size):
    message = os.urandom(size)
    with talk(echoing, f"/size/{size}") as client:
        client.send(message)
        assert client.recv(timeout=20) == message
    line = echoing.wait_for_access(path=f"/size/{size}")
    assert (line["status"], line["reason"]) == (101, "ok")
    assert line["bytes_in"] > size
    assert line["bytes_out"] > size
    assert line["backend"]


def test_messages_stay_in_order(echoing):
    with talk(echoing) as client:
        for number in range(500):
            client.send(str(number))
        assert [client.recv(timeout=5) for _ in range(500)] == [str(number) for number in range(500)]


def test_a_close_of_the_client_reaches_the_server(echoing, server):
    with talk(echoing) as client:
        client.close(3001)
    eventually(lambda: "closed 3001" in server.said, "the close at the server")


def test_a_close_of_the_server_reaches_the_client(echoing):
    with talk(echoing, "/bye") as client:
        client.send("x")
        assert client.recv(timeout=5) == "x"
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(timeout=5)
        assert caught.value.rcvd.code == BYE
    assert echoing.wait_for_access(path="/bye")["reason"] == "ok"


def test_a_client_that_vanishes_ends_the_backends_side(echoing, server):
    before = server.said.count("closed 1006")
    with talk(echoing, "/vanish") as client:
        client.send("x")
        client.recv(timeout=5)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        eventually(lambda: server.said.count("closed 1006") > before, "the end at the server")
    assert echoing.wait_for_access(path="/vanish")["status"] == 101


def test_a_backend_that_is_killed_ends_the_clients_side():
    with (
        WebSocketServer() as server,
        AegisProcess(config_for([{"url": server.url, "weight": 1}], **ANY_HOST)) as aegis,
        talk(aegis) as client,
    ):
        client.send("x")
        client.recv(timeout=5)
        server.kill()
        with pytest.raises(ConnectionClosedError):
            client.recv(timeout=5)
        line = aegis.wait_for_access(path="/echo")
        assert line["status"] == 101
        assert aegis.stop() == 0


def test_a_tls_backend_works_the_same(tmp_path):
    authority = trustme.CA()
    host = loopback_host()
    certificate = authority.issue_cert(host)
    files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    message = os.urandom(3 << 20)
    with WebSocketServer(*map(str, files), host=host) as server:
        config = config_for([{"url": server.url, "weight": 1}], **ANY_HOST)
        with AegisProcess(config, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}) as aegis:
            with talk(aegis) as client:
                for _ in range(3):
                    client.send(message)
                    assert client.recv(timeout=20) == message
                client.send("small")
                assert client.recv(timeout=5) == "small"
            assert aegis.wait_for_access(path="/echo")["reason"] == "ok"
            eventually(lambda: "closed 1000" in server.said, "the close at the server")
            assert aegis.stop() == 0


# the handshake, byte by byte


def switch(connection, request):
    """Agree, then echo until the proxy ends its side."""
    connection.send(SWITCHING)
    while data := connection.receive():
        connection.send(data)
    connection.close()


def ask(client, path, behind=b""):
    lines = [f"GET {path} HTTP/1.1", "Host: example.test", *(f"{name}: {value}" for name, value in ASK), "", ""]
    client.send("\r\n".join(lines).encode() + behind)


@pytest.fixture
def tunnel(backend, client):
    """A tunnel over the raw client."""
    backend.on("/raw", switch)
    ask(client, "/raw")
    assert client.read_head().status == 101
    return client


def test_the_backend_gets_an_upgrade_of_ours_and_the_client_a_complete_101(aegis, backend, client):
    backend.on("/handshake", switch)
    ask(client, "/handshake")
    head = client.read_head()
    assert (head.status, head.reason) == (101, "Switching Protocols")
    assert head.tokens("Connection") == {"upgrade"}
    assert head["Upgrade"] == "websocket"
    assert (ACCEPT[0], head[ACCEPT[0]]) == ACCEPT
    assert "RateLimit" in head
    assert "Content-Length" not in head
    assert "Transfer-Encoding" not in head
    check_every_response(head)
    request = backend.wait_for("/handshake")
    assert (request["Connection"], request["Upgrade"]) == ("Upgrade", "websocket")
    assert (request["Sec-WebSocket-Key"], request["Sec-WebSocket-Version"]) == (KEY, "13")
    assert request["X-Forwarded-For"].startswith("127.")
    assert request["Via"] == "1.1 aegis"
    assert not aegis.access_lines(path="/handshake"), "the line is written at the end"


def test_bytes_behind_the_101_and_behind_the_request_are_kept(aegis, backend, client):
    def script(connection, request):
        connection.send(SWITCHING + b"early")
        assert connection._exactly(6) == b"behind"
        connection.close()

    backend.on("/early", script)
    ask(client, "/early", b"behind")
    assert client.read_head().status == 101
    assert wait_bytes(client, 5) == b"early"
    assert client.ends_silently()
    client.close()
    line = aegis.wait_for_access(path="/early")
    assert (line["bytes_in"], line["bytes_out"]) == (6, 5)


def test_a_head_and_its_101_may_come_byte_by_byte(backend, client):
    def script(connection, request):
        connection.drip(SWITCHING + b"x")
        connection.close()

    backend.on("/drip", script)
    lines = ["GET /drip HTTP/1.1", "Host: example.test", *(f"{name}: {value}" for name, value in ASK), "", ""]
    client.send_byte_by_byte("\r\n".join(lines).encode() + b"yz")
    assert client.read_head().status == 101
    assert wait_bytes(client, 1) == b"x"


def test_early_hints_may_come_before_the_101(backend, client):
    def script(connection, request):
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        switch(connection, request)

    backend.on("/hinted", script)
    ask(client, "/hinted")
    assert client.read_head().status == 103
    assert client.read_head().status == 101
    client.send(b"x")
    assert wait_bytes(client, 1) == b"x"


def test_it_may_follow_another_request_on_the_same_connection(backend, client):
    backend.on("/second", switch)
    assert client.get("/first").status == 200
    ask(client, "/second", b"x")
    assert client.read_head().status == 101
    assert wait_bytes(client, 1) == b"x"


def test_half_close_passes_both_ways(backend, tunnel):
    tunnel.send(b"last")
    tunnel.socket.shutdown(socket.SHUT_WR)
    assert wait_bytes(tunnel, 4) == b"last"
    assert tunnel.ends_silently()


def test_an_answer_other_than_101_is_proxied_as_usual_and_the_connection_kept(aegis, backend, client):
    backend.on("/no", answer(403, body=b"no"))
    ask(client, "/no", b"GET /next HTTP/1.1\r\nHost: example.test\r\n\r\n")
    response = client.read_response()
    assert (response.status, response.body) == (403, b"no")
    assert "Upgrade" not in response
    assert client.read_response().body == b"hello"  # what came behind is the next request then
    line = aegis.wait_for_access(path="/no")
    assert (line["status"], line["reason"]) == (403, "ok")


def test_a_library_sees_the_refusal_of_the_backend(aegis, backend):
    backend.on("/refused", answer(426, [("Upgrade", "websocket"), ("Connection", "Upgrade")], b"x"))
    with pytest.raises(InvalidStatus) as caught, talk_as_example(aegis, "/refused"):
        pass
    assert caught.value.response.status_code == 426


@contextlib.contextmanager
def talk_as_example(aegis, path):
    sock = socket.create_connection(aegis.address)
    with websocket(f"ws://example.test{path}", sock=sock, proxy=None) as client:
        yield client


BAD_101 = {
    "no_fields": answer(101, length=None),
    "no_connection": answer(101, [("Upgrade", "websocket"), ACCEPT], length=None),
    "no_upgrade": answer(101, [("Connection", "Upgrade"), ACCEPT], length=None),
    "other_protocol": answer(101, [("Connection", "Upgrade"), ("Upgrade", "h2c")], length=None),
    "two_protocols": answer(101, [("Connection", "Upgrade"), ("Upgrade", "websocket, h2c")], length=None),
    "http_10": SWITCHING.replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("name", BAD_101)
def test_a_101_without_the_right_fields_is_a_bad_gateway(aegis, backend, client, name):
    backend.on(f"/bad/{name}", BAD_101[name])
    ask(client, f"/bad/{name}", b"GET /next HTTP/1.1\r\nHost: example.test\r\n\r\n")
    response = client.read_response()
    assert (response.status, response.body) == (502, b'{"error":"bad gateway"}')
    assert aegis.wait_for_access(path=f"/bad/{name}")["reason"] == "bad_gateway_protocol"
    assert client.read_response().body == b"hello"


def test_a_101_that_nobody_asked_for_is_a_bad_gateway(aegis, backend, client):
    backend.on("/unasked", switch)
    assert client.get("/unasked").status == 502
    assert aegis.wait_for_access(path="/unasked")["reason"] == "bad_gateway_protocol"


def test_a_client_that_leaves_before_the_101_cancels_the_request(aegis, backend, client):
    left = []

    def script(connection, request):
        connection.wait_until_peer_leaves()
        left.append(True)

    backend.on("/slow", script)
    ask(client, "/slow")
    backend.wait_for("/slow")
    client.close()
    eventually(lambda: left, "the end at the backend")
    assert aegis.wait_for_access(path="/slow")["reason"] == "client_gone"


def test_validation_and_limiter_come_before_a_tunnel(backend):
    backend.on("/limited", switch)
    config = config_for(
        [backend],
        rate_limit={"requests_per_second": 1, "burst": 1},
        adaptive={"enabled": False, "min_rate": 0.1},
        server={"allowed_methods": ["POST"], "allowed_hosts": ["*"]},
    )
    with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
        ask(client, "/method")
        assert client.read_response().status == 405
        assert aegis.stop() == 0
    config["server"].pop("allowed_methods")
    with AegisProcess(config) as aegis, RawClient(aegis.address) as first, RawClient(aegis.address) as second:
        ask(first, "/limited")
        assert first.read_head().status == 101
        ask(second, "/limited")
        assert second.read_response().status == 429
        first.close()
        assert aegis.stop() == 0
    assert len(backend.asked("/limited")) == 1
    assert not backend.asked("/method")


# resets, silence, stops


def test_a_reset_of_the_backend_is_an_abort(aegis, backend, client):
    def script(connection, request):
        connection.send(SWITCHING)
        connection.receive()
        connection.reset()

    backend.on("/reset", script)
    ask(client, "/reset")
    assert client.read_head().status == 101
    client.send(b"x")
    assert client.read_to_end()[1] == "reset"
    line = aegis.wait_for_access(path="/reset")
    assert (line["status"], line["reason"]) == (101, "backend_aborted")


def test_a_reset_of_the_client_ends_the_backends_side(aegis, backend, client):
    left = []

    def script(connection, request):
        connection.send(SWITCHING)
        connection.wait_until_peer_leaves()
        left.append(True)

    backend.on("/client-reset", script)
    ask(client, "/client-reset")
    assert client.read_head().status == 101
    client.reset()
    eventually(lambda: left, "the end at the backend")
    line = aegis.wait_for_access(path="/client-reset")
    assert (line["status"], line["reason"]) == (101, "client_gone")


def test_a_reader_that_stops_costs_no_memory_and_slows_its_sender_only(aegis, backend, client):
    backend.on("/stopped", lambda connection, request: (connection.send(SWITCHING), gevent.sleep(5)))
    ask(client, "/stopped")
    assert client.read_head().status == 101
    before = aegis.resident_bytes()
    client.socket.setblocking(False)
    sent = 0

    def push():
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while sent < 64 << 20:
                sent += client.socket.send(bytes(1 << 20))
        return sent

    assert settled(push) < 32 << 20, "the sender was not held back"
    assert aegis.resident_bytes() - before < 4 << 20
    with RawClient(aegis.address) as other:
        assert other.get("/").body == b"hello"


def test_silence_in_both_directions_closes_it_and_a_word_in_either_does_not(backend):
    spoke = []

    def script(connection, request):
        connection.send(SWITCHING)
        for _ in range(4):
            gevent.sleep(0.35)
            connection.send(b"x")
            spoke.append(time.monotonic())
        connection.wait_until_peer_leaves()

    backend.on("/silence", script)
    config = config_for([backend], transport={"stream_idle_timeout": "1200ms"})
    with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
        ask(client, "/silence")
        assert client.read_head().status == 101
        assert wait_bytes(client, 4) == b"xxxx"
        assert client.ends_silently(4)
        assert 1.1 < time.monotonic() - spoke[-1] < 2
        line = aegis.wait_for_access(path="/silence")
        assert (line["status"], line["reason"], line["detail"]) == (101, "ok", "silent for 1.2 s")
        assert 2500 < line["duration_ms"] < 1000 * (spoke[-1] - spoke[0]) + 2350
        assert aegis.stop() == 0


def test_other_timeouts_do_not_touch_a_tunnel(backend):
    backend.on("/patient", switch)
    short = "200ms"
    config = config_for(
        [backend],
        server={"read_timeout": short, "write_timeout": short, "idle_timeout": short},
        transport={"response_header_timeout": short, "read_timeout": short, "idle_conn_timeout": short},
    )
    with AegisProcess(config) as aegis, RawClient(aegis.address) as client:
        ask(client, "/patient")
        assert client.read_head().status == 101
        gevent.sleep(0.6)
        client.send(b"still here")
        assert wait_bytes(client, 10) == b"still here"
        client.close()
        assert aegis.stop() == 0


def test_a_stop_closes_tunnels_at_once_when_nothing_else_is_in_flight(backend):
    left = []

    def script(connection, request):
        connection.send(SWITCHING)
        connection.wait_until_peer_leaves()
        left.append(True)

    backend.on("/stopping", script)
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address) as client:
        ask(client, "/stopping")
        assert client.read_head().status == 101
        assert aegis.stop(within=3) == 0
        assert client.ends_silently()
        line = aegis.wait_for_access(path="/stopping")
        assert (line["status"], line["detail"]) == (101, "closed by the stop")
    eventually(lambda: left, "the end at the backend")


def test_a_stop_leaves_tunnels_open_while_a_request_is_in_flight_until_half_its_time(backend):
    backend.on("/tunnel", switch)
    backend.on("/long", lambda connection, request: (gevent.sleep(0.8), connection.send(HELLO)))
    config = config_for([backend], server={"shutdown_timeout": "10s"})
    with (
        AegisProcess(config) as aegis,
        RawClient(aegis.address) as client,
        RawClient(aegis.address) as other,
    ):
        ask(client, "/tunnel")
        assert client.read_head().status == 101
        other.request("GET", "/long")
        backend.wait_for("/long")
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.4)
        client.send(b"still here")
        assert wait_bytes(client, 10) == b"still here"
        assert other.read_response().body == b"hello"
        assert aegis.wait() == 0
        assert client.ends_silently()


def test_a_forced_stop_does_not_wait_for_tunnels(backend):
    backend.on("/forced", switch)
    backend.on("/never", lambda connection, request: gevent.sleep(10))
    with (
        AegisProcess(config_for([backend], server={"shutdown_timeout": "400ms"})) as aegis,
        RawClient(aegis.address) as client,
        RawClient(aegis.address) as other,
    ):
        ask(client, "/forced")
        assert client.read_head().status == 101
        other.request("GET", "/never")
        backend.wait_for("/never")
        assert aegis.stop(within=5) == 1


def test_a_thousand_idle_tunnels_are_cheap(backend):
    def script(connection, request):
        connection.recording = False
        switch(connection, request)

    backend.on("/idle", script)
    with AegisProcess(config_for([backend])) as aegis, contextlib.ExitStack() as stack:

        def opened():
            client = stack.enter_context(RawClient(aegis.address))
            ask(client, "/idle")
            assert client.read_head().status == 101
            return client

        for _ in range(50):
            opened()
        before = aegis.resident_bytes()
        clients = [opened() for _ in range(IDLE_TUNNELS)]
        each = (aegis.resident_bytes() - before) / IDLE_TUNNELS
        assert each < 40_000, f"{each:.0f} bytes a tunnel"
        for client in clients[::100]:
            client.send(b"x")
            assert wait_bytes(client, 1) == b"x"
        assert aegis.stop(within=10) == 0
