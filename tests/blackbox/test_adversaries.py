"""What an attacker would try that no single case file can say: spoofing, injection from the backend, floods."""

from __future__ import annotations

import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_every_response, check_refusal
from tests.support.ports import loopback_host
from tests.support.raw_client import AbortedError, RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, then_close

BURST = 3
LIMITED = {"rate_limit": {"requests_per_second": 0.1, "burst": BURST}, "adaptive": {"enabled": False, "min_rate": 0.1}}
CLAIMS = [
    "X-Forwarded-For",
    "X_Forwarded_For",
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "Forwarded",
    "CF-Connecting-IP",
]


@pytest.mark.parametrize("trusted", [False, True], ids=["untrusted", "trusted"])
@pytest.mark.parametrize("name", CLAIMS)
def test_no_claim_about_the_client_buys_a_token_not_even_a_trusted_proxys(name, trusted, limited):
    """The key is the TCP peer: a balancer in front is one client, as its operator is told."""
    aegis = limited[trusted]
    with RawClient(aegis.address, source=loopback_host()) as client:
        statuses = [client.get("/", [(name, f"203.0.113.{number}")]).status for number in range(BURST + 3)]
    assert statuses == [200] * BURST + [429] * 3


def test_a_claim_spends_nobody_elses_token(limited):
    victim, attacker = loopback_host(), loopback_host()
    with RawClient(limited[False].address, source=attacker) as client:
        for _ in range(BURST + 5):
            client.get("/", [("X-Forwarded-For", victim), ("Connection", "X-Forwarded-For")])
    with RawClient(limited[False].address, source=victim) as client:
        assert client.get("/").status == 200


@pytest.fixture(scope="module")
def limited():
    """By whether all peers are trusted proxies."""
    with ScriptedBackend() as backend:
        plain = config_for([backend], **LIMITED)
        trusting = config_for([backend], **LIMITED, security={"trusted_proxies": ["127.0.0.0/8"]})
        with AegisProcess(plain) as untrusted, AegisProcess(trusting) as trusted:
            yield {False: untrusted, True: trusted}


# from the backend toward the client

INJECTIONS = {
    "bare_cr": b"X-A: 1\rSet-Cookie: evil=1\r\n",
    "bare_lf": b"X-A: 1\nSet-Cookie: evil=1\r\n",
    "lf_cr": b"X-A: 1\n\rSet-Cookie: evil=1\r\n",
    "nul": b"X-A: 1\0Set-Cookie: evil=1\r\n",
    "fold": b"X-A: 1\r\n Set-Cookie: evil=1\r\n",
    "space_before_colon": b"Set-Cookie : evil=1\r\n",
    "name_with_line_end": b"X-A\r: 1\r\n",
    "no_colon": b"Set-Cookie evil=1\r\n",
    "vertical_tab": b"X-A: 1\x0bSet-Cookie: evil=1\r\n",
    "empty_name": b": evil=1\r\n",
    "two_lengths": b"Content-Length: 0\r\n",
    "length_and_coding": b"Transfer-Encoding: chunked\r\n",
    "coding_disguised": b"Transfer-Encoding: xchunked\r\n",
}


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_malformed_head_of_a_backend_never_reaches_the_client(name, backend, client):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + INJECTIONS[name] + b"\r\nhello"
    backend.on("/inject", then_close(raw))
    response = client.get("/inject")
    check_refusal(response, "bad_gateway_protocol")
    assert "evil" not in str(response.fields)
    assert client.get("/next").status == 200, "nor does it desynchronise the connection"


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200 OK\rSet-Cookie: evil=1",
        b"HTTP/1.1 200 OK\nSet-Cookie: evil=1",
        b"HTTP/1.1 200 OK\0Set-Cookie: evil=1",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/2 200 OK",
        b"ICY 200 OK",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_a_malformed_status_line_never_reaches_the_client(line, backend, client):
    backend.on("/line", then_close(line + b"\r\nContent-Length: 0\r\n\r\n"))
    check_refusal(client.get("/line"), "bad_gateway_protocol")


def test_a_reason_phrase_cannot_carry_anything_on(backend, client):
    backend.on("/phrase", b"HTTP/1.1 200 <script>alert(1)</script>\r\nContent-Length: 0\r\n\r\n")
    response = client.get("/phrase")
    assert response.reason == "OK"
    assert b"script" not in response.head


@pytest.mark.parametrize(
    "ours", ["X-Request-ID", "X-Content-Type-Options", "Server", "Strict-Transport-Security, X-Frame-Options"]
)
def test_a_backends_connection_field_strips_none_of_ours(ours, backend, client):
    backend.on("/strip", answer(200, [("Connection", ours)], b"hello"))
    check_every_response(client.get("/strip"))


def test_a_second_response_behind_the_first_is_nobodys(backend, connect):
    """Response splitting: what a backend says too much must not answer the next client."""
    evil = answer(200, [("X-Evil", "1")], b"evil!")
    backend.on("/split", answer(200, [], b"hello") + evil)
    for _ in range(3):
        assert connect().get("/split").body == b"hello"
        response = connect().get("/innocent")
        assert "X-Evil" not in response
        assert response.body == b"hello"


def test_a_body_longer_than_its_length_is_cut_and_its_connection_not_used_again(backend, client):
    backend.on("/long", answer(200, [], b"hello, and a smuggled answer", length=5))
    assert client.get("/long").body == b"hello"
    assert client.get("/next").body == b"hello"


def test_chunk_framing_that_injects_is_an_abort_and_no_clean_end(backend, client):
    head = answer(200, [("Transfer-Encoding", "chunked")], length=None)
    backend.on("/chunks", then_close(head + b"5\r\nhello\r\n-1\r\nHTTP/1.1 200 OK\r\n\r\n"))
    client.request("GET", "/chunks")
    with pytest.raises(AbortedError) as aborted:
        client.read_response()
    assert aborted.value.response.body in {b"", b"hello"}


# floods


@pytest.mark.stress
@pytest.mark.timeout(180)
def test_a_flood_of_heads_that_never_repeat_leaves_memory_flat():
    """Names, values, targets, hosts, Connection tokens and answers: everything that anything could remember."""
    config = {"server": {"allowed_hosts": ["*"]}}
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **config)) as aegis:

        def echo(connection, request):
            connection.send(answer(200, [(f"X-{request.target[6:]}", request.target)], b"hello"))

        def flood(start, count):
            with RawClient(aegis.address, source=loopback_host()) as client:
                for number in range(start, start + count):
                    fields = [
                        (f"X-Name-{number}", f"value-{number}"),
                        ("Connection", f"X-Gone-{number}"),
                        ("Cookie", f"session={number}"),
                        ("Accept", f"text/x-{number}"),
                    ]
                    target = f"/echo/{number}"
                    backend.on(target, echo)
                    assert client.get(target, fields, host=f"host-{number}.test:{1 + number % 65_535}").status == 200
                    backend._answers.pop(target)
            backend.requests.clear()
            for connection in backend.connections:
                connection.requests.clear()
                connection.received.clear()

        flood(0, 6_000)  # fills whatever is bounded
        before = aegis.resident_bytes()
        for round_ in range(1, 4):
            flood(round_ * 10_000, 6_000)
        assert aegis.resident_bytes() - before < 4 << 20
        assert aegis.stop() == 0
