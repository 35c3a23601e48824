"""Bodies stream both ways, at once, untouched, and with bounded memory."""

from __future__ import annotations

import hashlib
import random

import gevent
import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_refusal
from tests.support.poll import eventually, settled
from tests.support.raw_client import AbortedError, RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, before_body, chunk, chunked

MIB = 1 << 20
LARGE = 64 * MIB
BLOCK = random.Random(1).randbytes(MIB)
CONFIG = {"server": {"max_body_bytes": 2 * LARGE}}


def blocks(size=LARGE):
    """`size` bytes in pieces, no two alike."""
    for index in range(size // MIB):
        yield BLOCK[index:] + BLOCK[:index]


def digest(pieces):
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


EXPECTED = digest(blocks())


def test_first_event_of_a_stream_goes_out_while_the_backend_holds(backend, client):
    more = Event()

    def events(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream")], end=b""))
        more.wait(10)
        connection.send(chunk(b"data: 2\n\n"), b"0\r\n\r\n")

    backend.on("/events", events)
    client.request("GET", "/events", [("Accept", "text/event-stream")])
    response = client.read_head()
    assert response["Transfer-Encoding"] == "chunked"
    assert client.read_chunk() == b"data: 1\n\n"
    more.set()
    assert client.read_chunk() == b"data: 2\n\n"
    assert client.read_chunk() == b""


def test_head_goes_out_before_the_first_byte_of_the_body(backend, client):
    more = Event()

    def late(connection, request):
        connection.send(answer(length=5))
        more.wait(10)
        connection.send(b"hello")

    backend.on("/late", late)
    client.request("GET", "/late")
    assert client.read_head()["Content-Length"] == "5"
    more.set()
    assert client.receive() == b"hello"


def test_a_byte_of_a_length_delimited_body_goes_out_when_it_comes(backend, client):
    more = Event()

    def slow(connection, request):
        connection.send(answer(length=2), b"a")
        more.wait(10)
        connection.send(b"b")

    backend.on("/slow", slow)
    client.request("GET", "/slow")
    client.read_head()
    assert client.receive() == b"a"
    more.set()
    assert client.receive() == b"b"


def test_request_body_reaches_the_backend_while_the_client_still_sends(backend, client):
    got = Event()

    def script(connection, request):
        assert connection.read_chunk() == b"first"
        got.set()
        while connection.read_chunk():
            pass
        connection.send(answer(body=b"all"))

    backend.on("/upload", before_body(script))
    client.send(b"POST /upload HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    assert got.wait(3)
    client.send(b"6\r\nsecond\r\n0\r\n\r\n")
    assert client.read_response().body == b"all"


def test_unknown_length_stays_chunked_and_a_known_one_stays_a_length(backend, client):
    backend.on("/chunked", chunked(b"hel", b"lo"))
    backend.on("/length", answer(body=b"hello"))
    assert (client.get("/chunked").framing, client.get("/length").framing) == ("chunked", "length")


def test_close_delimited_body_of_the_backend_becomes_chunked(backend, client):
    def script(connection, request):
        connection.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        connection.close()

    backend.on("/old", script)
    response = client.get("/old")
    assert (response.framing, response.body) == ("chunked", b"hello")
    assert client.get("/next").status == 200


@pytest.mark.parametrize("trailer", ["X-T: 1", "X-T: 1\r\nX-U: 2", "Set-Cookie: a=1", "Server-Timing: a", "ETag: x"])
def test_trailers_of_the_backend_are_dropped(backend, client, trailer):
    end = b"0\r\n" + trailer.encode() + b"\r\n\r\n"
    backend.on("/trailers", chunked(b"hello", fields=[("Trailer", "X-T")], end=end))
    response = client.get("/trailers")
    assert (response.body, response.trailers) == (b"hello", [])
    assert "Trailer" not in response
    assert client.get("/next").status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_64_mb_down_are_identical_and_memory_stays_flat(aegis, backend, client, framing):
    def script(connection, request):
        if framing == "length":
            connection.send(answer(length=LARGE), *blocks())
        else:
            connection.send(chunked(end=b""), *map(chunk, blocks()), b"0\r\n\r\n")

    backend.on("/down", script)
    client.get("/warm")
    before, peak, sha, left = aegis.resident_bytes(), 0, hashlib.sha256(), LARGE
    client.request("GET", "/down")
    assert client.read_head().status == 200
    while left:
        piece = client.receive(left) if framing == "length" else client.read_chunk()
        assert piece
        left -= len(piece)
        sha.update(piece)
        peak = max(peak, aegis.resident_bytes())
    assert sha.hexdigest() == EXPECTED
    assert peak - before < 20 * MIB


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_64_mb_up_are_identical_and_memory_stays_flat(aegis, backend, client, framing):
    sha, peak = hashlib.sha256(), [0]

    def script(connection, request):
        connection.recording = False
        left = LARGE
        while left:
            piece = connection.receive(left) if framing == "length" else connection.read_chunk()
            if not piece:
                return
            left -= len(piece)
            sha.update(piece)
            peak[0] = max(peak[0], aegis.resident_bytes())
        if framing == "chunked":
            assert connection.read_chunk() == b""
        connection.send(answer(body=b"done", fields=[("Connection", "close")]))
        connection.close()

    backend.on("/up", before_body(script))
    client.get("/warm")
    before = aegis.resident_bytes()
    length = framing == "length"
    field = f"Content-Length: {LARGE}" if length else "Transfer-Encoding: chunked"
    client.send(f"POST /up HTTP/1.1\r\nHost: example.test\r\n{field}\r\n\r\n".encode())
    for piece in blocks():
        client.send(piece if length else chunk(piece))
    client.send(b"" if length else b"0\r\n\r\n")
    assert client.read_response().body == b"done"
    assert sha.hexdigest() == EXPECTED
    assert peak[0] - before < 20 * MIB


def test_a_reader_that_stalls_holds_the_backend_back():
    """The buffers between the two are bounded: the backend cannot push what the client does not take."""
    with ScriptedBackend(send_buffer=65536) as backend, AegisProcess(config_for([backend])) as aegis:

        def script(connection, request):
            connection.send(answer(length=LARGE), *blocks())

        backend.on("/down", script)
        with RawClient(aegis.address, receive_buffer=65536) as client:
            client.get("/warm")
            before = aegis.resident_bytes()
            client.request("GET", "/down")
            connection = backend.wait_for("/down").connection
            eventually(lambda: connection.sent > 65536, "the backend's first bytes")
            assert settled(lambda: connection.sent) < 16 * MIB
            assert aegis.resident_bytes() - before < 20 * MIB


def test_a_backend_that_stalls_holds_the_uploading_client_back():
    with ScriptedBackend(receive_buffer=65536) as backend:
        release, sent = Event(), [0]
        backend.on("/up", before_body(lambda connection, request: release.wait(20)))
        with AegisProcess(config_for([backend], **CONFIG)) as aegis, RawClient(aegis.address, timeout=20) as client:

            def upload():
                try:
                    for _ in range(LARGE // 65536):
                        client.send(BLOCK[:65536])
                        sent[0] += 65536
                except OSError:
                    pass  # the test is over

            client.send(f"POST /up HTTP/1.1\r\nHost: example.test\r\nContent-Length: {LARGE}\r\n\r\n".encode())
            uploading = gevent.spawn(upload)
            backend.wait_for("/up")
            eventually(lambda: sent[0], "the client's first bytes")
            assert settled(lambda: sent[0]) < 24 * MIB
            uploading.kill()
            release.set()


def test_expect_continue_is_answered_at_the_first_read_of_the_body(backend, client):
    client.send(
        b"POST /expect HTTP/1.1\r\nHost: example.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    interim = client.read_head()
    assert (interim.status, interim.fields) == (100, [])
    client.send(b"hello")
    assert client.read_response().status == 200
    request = backend.wait_for("/expect")
    assert request.body == b"hello"
    assert "Expect" not in request


def test_a_refused_body_is_not_asked_for(aegis):
    with RawClient(aegis.address) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: example.test\r\nExpect: 100-continue\r\nContent-Length: 999999999999\r\n\r\n",
        )
        response = client.read_response()
        assert response.interim == []
        check_refusal(response, "body_too_large")


def test_http_10_clients_get_no_100(aegis):
    with RawClient(aegis.address) as client:
        client.send(
            b"POST / HTTP/1.0\r\nHost: example.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        )
        assert client.read_response().interim == []


def test_early_final_answer_is_relayed_at_once_and_both_connections_close(backend, client):
    def script(connection, request):
        connection.send(answer(403, body=b"no"))
        connection.wait_until_peer_leaves()

    backend.on("/early", before_body(script))
    client.send(b"POST /early HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000000\r\n\r\nsome")
    response = client.read_response()
    assert (response.status, response.body) == (403, b"no")
    connection = backend.wait_for("/early").connection
    assert connection.peer_left.wait(3), "the connection to the backend closes"
    assert client.ends_silently(3)


def test_early_final_answer_of_a_chunked_upload_never_looks_complete_to_the_backend(backend, client):
    def script(connection, request):
        connection.read_chunk()
        connection.send(answer(413, body=b"no"))
        connection.wait_until_peer_leaves()

    backend.on("/early-chunked", before_body(script))
    client.send(
        b"POST /early-chunked HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"
    )
    assert client.read_response().status == 413
    connection = backend.wait_for("/early-chunked").connection
    assert connection.peer_left.wait(3)
    assert not connection.received.endswith(b"0\r\n\r\n")


def test_client_that_leaves_while_the_backend_thinks_cancels_the_request(aegis, backend, client):
    backend.on("/think", lambda connection, request: connection.wait_until_peer_leaves())
    client.request("GET", "/think")
    connection = backend.wait_for("/think").connection
    client.close()
    assert connection.peer_left.wait(2)
    line = aegis.wait_for_access(path="/think")
    assert (line["status"], line["reason"]) == (499, "client_gone")


def test_client_that_leaves_within_a_response_cancels_the_request(aegis, backend, client):
    def endless(connection, request):
        connection.send(chunked(end=b""))
        while True:
            connection.send(chunk(BLOCK[:16384]))
            gevent.sleep(0.005)

    backend.on("/endless", endless)
    client.request("GET", "/endless")
    assert client.read_head().status == 200
    assert client.read_chunk()
    client.reset()
    connection = backend.wait_for("/endless").connection
    eventually(lambda: connection.closed, "the backend's send fails", within=3)
    line = aegis.wait_for_access(path="/endless")
    assert (line["status"], line["reason"]) == (200, "client_gone")


def test_client_that_leaves_within_an_upload_never_looks_complete_to_the_backend(aegis, backend, client):
    backend.on("/torn", answer(body=b"x"))
    client.send(b"POST /torn HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
    connection = backend.wait_for("/torn").connection
    client.close()
    assert connection.peer_left.wait(2)
    assert not backend.asked("/torn")[0].complete
    assert aegis.wait_for_access(path="/torn")["reason"] == "client_gone"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_backend_that_breaks_off_a_chunked_body_never_gives_a_clean_end(aegis, backend, client, end):
    def script(connection, request):
        connection.send(chunked(b"hello", end=b""))
        gevent.sleep(0.05)
        getattr(connection, end)()

    backend.on(f"/broken-chunked-{end}", script)
    client.request("GET", f"/broken-chunked-{end}")
    with pytest.raises(AbortedError) as aborted:
        client.read_response()
    assert aborted.value.response.body == b"hello"
    assert aegis.wait_for_access(path=f"/broken-chunked-{end}")["reason"] == "backend_aborted"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_backend_that_breaks_off_a_length_delimited_body_leaves_it_short(aegis, backend, client, end):
    def script(connection, request):
        connection.send(answer(length=100), b"hello")
        gevent.sleep(0.05)
        getattr(connection, end)()

    backend.on(f"/broken-length-{end}", script)
    client.request("GET", f"/broken-length-{end}")
    with pytest.raises(AbortedError) as aborted:
        client.read_response()
    assert aborted.value.response.body == b"hello"
    assert aegis.wait_for_access(path=f"/broken-length-{end}")["reason"] == "backend_aborted"


def test_backend_that_resets_a_close_delimited_body_never_gives_a_clean_end(backend, client):
    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        gevent.sleep(0.05)
        connection.reset()

    backend.on("/broken-close", script)
    client.request("GET", "/broken-close")
    with pytest.raises(AbortedError):
        client.read_response()


@pytest.mark.parametrize(
    "bad", [b"xyz\r\n", b"-1\r\n", b"5\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n", b"fffffffffffffffff\r\n", b"\r\n"]
)
def test_malformed_chunk_of_the_backend_aborts(aegis, backend, client, bad):
    backend.on("/bad-chunk", chunked(b"first", end=bad))
    client.request("GET", "/bad-chunk")
    with pytest.raises(AbortedError):
        client.read_response()
    assert aegis.running
