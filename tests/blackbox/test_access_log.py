"""One access line a request: what stands in it, and what never does."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.support.contract import ACCESS_FIELDS
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import answer, chunked

SECRET = "hunter2-Wonderland"  # the word that must not show up


@pytest.fixture(scope="module")
def line(aegis, backend):
    """The access line of one POST from 127.5.77.91."""
    backend.on("/path/a%20b", answer(201, body=b"created"))
    with RawClient(aegis.address, source="127.5.77.91") as client:
        client.request("POST", "/path/a%20b?q=1", body=b"hello", host="example.test:8443")
        response = client.read_response()
    return aegis.wait_for_access(request_id=response["X-Request-ID"])


def test_access_line_has_every_field(line):
    assert set(line) >= {*ACCESS_FIELDS, "level", "message"}
    assert line["level"].upper() == "INFO"


def test_access_line_of_a_plain_request_has_no_detail(line):
    assert "detail" not in line


def test_access_line_tells_the_request(line):
    assert (line["method"], line["path"], line["protocol"]) == ("POST", "/path/a%20b", "HTTP/1.1")
    assert line["host"] in {"example.test:8443", "example.test"}


def test_access_line_tells_the_answer(line, backend):
    assert (line["status"], line["reason"], line["backend"], line["retries"]) == (201, "ok", backend.name, 0)


def test_access_line_counts_the_bytes_of_bodies(line):
    assert (line["bytes_in"], line["bytes_out"]) == (5, 7)


def test_access_line_has_times_in_order(line):
    assert 0 <= line["backend_ms"] <= line["duration_ms"] < 5000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)", line["time"])
    age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
    assert abs(age.total_seconds()) < 120


def test_client_is_masked_to_its_first_two_octets(line, aegis):
    assert line["client"].startswith("127.5.")
    assert not {"77", "91"} & set(line["client"].split("."))
    assert not any("127.5.77" in text for text in aegis.lines)


@pytest.mark.parametrize("length", [3000, 5000, 7000])
def test_line_of_a_very_long_path_is_still_one_json_object_with_its_end(aegis, client, length):
    response = client.get("/long/" + "a" * length)
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["status"], line["reason"]) == (200, "ok")
    assert line["path"].startswith("/long/aaa")


def test_chunked_bodies_are_counted_without_their_framing(aegis, backend, client):
    backend.on("/chunked", chunked(b"hello", b"world"))
    client.send(
        b"POST /chunked HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    response = client.read_response()
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["bytes_in"], line["bytes_out"]) == (3, 10)


def test_status_of_the_backend_is_logged_with_reason_ok(aegis, backend, client):
    backend.on("/oops", answer(500, body=b"x"))
    line = aegis.wait_for_access(request_id=client.get("/oops")["X-Request-ID"])
    assert (line["status"], line["reason"]) == (500, "ok")


def test_each_request_of_a_connection_has_one_line(aegis, client):
    ids = [client.get(f"/many/{number}")["X-Request-ID"] for number in range(20)]
    assert [aegis.wait_for_access(request_id=one)["path"] for one in ids] == [f"/many/{n}" for n in range(20)]


def test_query_cookies_credentials_and_bodies_are_never_logged(aegis, backend, client):
    fields = [
        *(("Cookie", f"session={SECRET}"), ("Authorization", f"Bearer {SECRET}"), ("X-Api-Token", SECRET)),
        *(("Proxy-Authorization", f"Basic {SECRET}"), ("Referer", f"http://a.test/?{SECRET}")),
    ]
    backend.on("/secret", answer(200, [("Set-Cookie", f"a={SECRET}")], SECRET.encode()))
    client.request("POST", f"/secret?token={SECRET}", fields, SECRET.encode())
    last = client.read_response()
    aegis.wait_for_access(request_id=last["X-Request-ID"])
    with RawClient(aegis.address) as other:  # a refusal logs no more
        other.request("GET", f"/../x?token={SECRET}", fields)
        last = other.read_response()
    aegis.wait_for_access(request_id=last["X-Request-ID"])
    with RawClient(aegis.address) as other:  # nor does an absolute form
        other.request("GET", f"http://example.test/secret?token={SECRET}", fields)
        last = other.read_response()
    aegis.wait_for_access(request_id=last["X-Request-ID"])
    assert not any(SECRET in text for text in aegis.lines)
    assert SECRET not in aegis.errors


def test_control_and_quote_bytes_cannot_break_a_line(aegis, client):
    """Each line stays one JSON object whatever a request holds."""
    response = client.get('/"<>{}|\\n%0a', host="example.test")
    line = aegis.wait_for_access(within=3, status=response.status, request_id=response["X-Request-ID"])
    assert line["reason"] in {"path_traversal", "bad_target"}
    assert line["path"].startswith('/"<>{}|')


def test_refused_host_is_explained_in_the_log(aegis, connect):
    response = connect().get("/", host="stranger.test")
    assert response.status == 400
    aegis.wait_for_access(request_id=response["X-Request-ID"], reason="host_not_allowed")
    told = [text for text in aegis.lines if "stranger.test" in text]
    assert any("allowed_hosts" in text for text in told), told


def test_obs_text_in_an_unlogged_field_does_no_harm(aegis, client):
    response = client.get("/latin", [("X-A", "caf\u00e9 \u0080")])
    assert aegis.wait_for_access(request_id=response["X-Request-ID"])["reason"] == "ok"
