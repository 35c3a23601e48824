"""Secrets planted wherever a client or a backend can put one, and every sink of the real program searched for them."""

from __future__ import annotations

from contextlib import suppress

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import AbortedError, ConnectionEndedError, RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, chunked, then_close

pytestmark = pytest.mark.process

SECRET = "hunter2Wonderland"
CLIENT = "127.91.92.93"
FIELDS = [
    ("Authorization", f"Basic {SECRET}"),
    ("Proxy-Authorization", f"Bearer {SECRET}"),
    ("Cookie", f"session={SECRET}"),
    ("X-Api-Key", SECRET),
    ("X-Forwarded-For", SECRET),
    ("X-Request-ID", SECRET),
    ("Referer", f"http://a.test/?{SECRET}"),
    ("User-Agent", SECRET),
]
REFUSED = [
    f"GET http://me:{SECRET}@example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
    f"CONNECT me:{SECRET}@example.test:443 HTTP/1.1\r\nHost: example.test\r\n\r\n",
    f"GET /#{SECRET} HTTP/1.1\r\nHost: example.test\r\n\r\n",
    f"GET /?a= {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/9.9\r\nHost: example.test\r\n\r\n",
    f"GET /../?{SECRET} HTTP/1.1\r\nHost: example.test\r\nCookie: {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: stranger.test\r\nCookie: {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nAuthorization : {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nCookie: \0{SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nExpect: {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nContent-Length: {SECRET}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
    f"POST /c HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
    f"POST /c HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n1;{SECRET}\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nCookie: {SECRET}{'a' * 9000}\r\n\r\n",
    f"GET /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nCookie: {SECRET}",  # times out
    f"POST /?{SECRET} HTTP/1.1\r\nHost: example.test\r\nContent-Length: 99\r\n\r\n{SECRET}",  # the same
]
BROKEN = {
    "/echo-address": then_close(f"HTTP/1.1 {CLIENT} said what?\r\n\r\n".encode()),
    "/echo-secret-field": then_close(f"HTTP/1.1 200 OK\r\nSet-Cookie : {SECRET}\r\n\r\n".encode()),
    "/echo-secret-length": then_close(f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n".encode()),
    "/echo-secret-chunk": then_close(chunked(b"x", end=f"{SECRET}\r\n".encode())),
    "/closed": then_close(b""),
    "/short": then_close(answer(length=99, body=b"x")),
}


def exchange(address, raw, **options):
    """Send and read whatever comes."""
    with RawClient(address, source=CLIENT, **options) as client:
        client.send(raw.encode("latin-1"))
        with suppress(AbortedError, ConnectionEndedError):
            client.read_response()


def plant(aegis, backend):
    """Put the secrets everywhere; how many requests were made."""
    for path, script in BROKEN.items():
        backend.on(path, script)
    backend.on("/in", answer(200, [("Set-Cookie", f"a={SECRET}"), ("Location", f"/?{SECRET}")], SECRET.encode()))
    heads = [f"{name}: {value}\r\n" for name, value in FIELDS]
    sound = [f"POST /in?token={SECRET} HTTP/1.1\r\nHost: example.test\r\nContent-Length: {len(SECRET)}\r\n"]
    sound = [sound[0] + "".join(heads) + "\r\n" + SECRET]
    broken = [f"GET {path}?{SECRET} HTTP/1.1\r\nHost: example.test\r\n{heads[0]}\r\n" for path in BROKEN]
    everything = [*sound, *REFUSED, *broken]
    gevent.joinall([gevent.spawn(exchange, aegis.address, raw) for raw in everything], raise_error=True, timeout=20)
    with RawClient(aegis.address, source=CLIENT) as client:  # so many that the limiter speaks of this client
        for _ in range(60):
            client.get(f"/in?{SECRET}", FIELDS)
    return len(everything) + 60


@pytest.mark.parametrize("sink", ["stdout", "file"])
@pytest.mark.parametrize("format_", ["json", "text"])
def test_nothing_secret_reaches_any_sink(tmp_path, format_, sink):
    path = tmp_path / "aegis.log"
    config = {
        "logging": {"level": "debug", "format": format_, "file": str(path) if sink == "file" else ""},
        "server": {"allowed_hosts": ["example.test"], "read_timeout": "400ms"},
        "rate_limit": {"requests_per_second": 1, "burst": 60},
        "adaptive": {"enabled": False, "min_rate": 1},
    }
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **config)) as aegis:
        wanted = plant(aegis, backend)
        log = path.read_text if sink == "file" else lambda: "\n".join(aegis.lines)
        lines = eventually(
            lambda: (text := log()).count("request_id") >= wanted and text, f"{wanted} access lines", within=5
        )
        aegis.stop()
        told = log() + "\n".join(aegis.lines) + aegis.errors
    assert lines.count("backend_aborted") >= 2
    assert lines.count("bad_gateway_protocol") >= 3
    assert "a client is being limited" in told
    assert SECRET not in told, [line for line in told.split("\n") if SECRET in line][:3]
    assert CLIENT not in told, [line for line in told.split("\n") if CLIENT in line][:3]
    assert "92.93" not in told
    assert "127.91.x.x" in told


PAGES = ["/events", "/snapshot", "/stacks", "/metrics", "/readyz"]


def test_nothing_secret_reaches_an_admin_page():
    """Asked while a client with secrets is being served, one waits within its head, and after all that is planted."""
    host, port = free_port()
    config = {
        "admin": {"listen": f"{host}:{port}"},
        "server": {"allowed_hosts": ["example.test"], "read_timeout": "400ms"},
        "rate_limit": {"requests_per_second": 1, "burst": 60},
        "adaptive": {"enabled": False, "min_rate": 1},
    }
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **config)) as aegis:
        plant(aegis, backend)
        backend.on("/held", lambda connection, request: connection.wait_until_peer_leaves())
        with RawClient(aegis.address, source="127.91.92.94") as served, RawClient(aegis.address, source=CLIENT) as slow:
            served.request("GET", f"/held?{SECRET}", FIELDS)
            slow.send(f"GET /?{SECRET} HTTP/1.1\r\nCookie: {SECRET}".encode())
            backend.wait_for("/held")
            told = {}
            for page in PAGES:
                with RawClient((host, port)) as admin:
                    told[page] = admin.get(page, host=f"{host}:{port}").body.decode()
        assert "a client is being limited" in told["/events"]
        for page, text in told.items():
            assert text
            assert SECRET not in text, page
            assert "92.9" not in text, page


def test_an_ipv6_client_is_masked_in_every_sink():
    config = {"server": {"host": "::", "allowed_hosts": ["example.test"]}}
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **config)) as aegis:
        try:
            client = RawClient(("::1", aegis.address[1]))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        with client:
            response = client.get(f"/in?{SECRET}")
        line = aegis.wait_for_access(request_id=response["X-Request-ID"])
        assert line["client"] == "::", "the last 80 bits are cut"
        aegis.stop()
        told = [text for text in aegis.lines if "::1" in text]
    assert told == []
