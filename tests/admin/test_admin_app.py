"""What the admin listener answers, and to whom."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from aegis.admin.app import Hosts
from aegis.events import Event
from aegis.metrics.snapshot import Snapshot
from tests.admin.conftest import refused
from tests.support.contract import check_every_response, check_refusal
from tests.support.raw_client import RawClient

READS = ["/livez", "/healthz", "/readyz", "/metrics", "/snapshot", "/events", "/stacks"]
VERBS = ["/backends/a/drain", "/backends/a/resume", "/reload"]
NOWHERE = ["/", "/metrics/", "/backends", "/backends/a", "/backends/a/reload", "/backends//x", "/a/b/c/drain"]
HEALTH = ["/livez", "/healthz", "/readyz", "/metrics"]


@pytest.fixture
def ask(served):
    return asking(served)


def asking(served):
    """`ask(method, target, *fields, host=…)` → response, over a connection of its own."""

    def ask(method, target, *fields, host=served.text):
        with RawClient(served.address) as client:
            client.request(method, target, list(fields), host=host)
            return client.read_response(method)

    return ask


def post(ask, target, **options):
    return ask("POST", target, ("X-Aegis", "1"), **options)


# reading


def test_live_until_exit_whatever_the_stage(served, ask):
    for stage in ("starting", "serving", "draining", "stopped"):
        served.watched.observer.enter(stage)
        for page in ("/livez", "/healthz"):
            response = ask("GET", page)
            assert (response.status, json.loads(response.body)) == (200, {"live": True})


def test_ready_and_the_body_names_what_is_missing(served, ask):
    assert (ask("GET", "/readyz").status, ask("GET", "/readyz").body) == (200, b'{"ready":true,"missing":""}')
    served.watched.observer.enter("draining")
    response = ask("GET", "/readyz")
    assert (response.status, json.loads(response.body)) == (503, {"ready": False, "missing": "stopping"})


def test_the_snapshot_is_the_one_of_the_board(served, ask):
    served.watched.ended()
    served.watched.observer.enter("serving")
    response = ask("GET", "/snapshot")
    snapshot = msgspec.json.decode(response.body, type=Snapshot)
    assert (snapshot.requests, snapshot.pid, [view.name for view in snapshot.backends]) == (
        1,
        os.getpid(),
        ["a", "b", "idle"],
    )


def test_events_after_a_number(served, ask):
    served.verbs.drain("a")
    served.verbs.resume("a")
    assert [event.kind for event in events_of(ask("GET", "/events"))] == ["drain", "resume"]
    assert [event.number for event in events_of(ask("GET", "/events?after=1"))] == [2]
    assert events_of(ask("GET", "/events?after=2")) == []


def events_of(response):
    return msgspec.json.decode(response.body, type=list[Event])


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 30, "%D9%A1"])
def test_a_number_of_an_event_that_is_none_is_refused(ask, after):
    response = ask("GET", f"/events?after={after}")
    assert (response.status, json.loads(response.body)) == (400, {"error": "after must be the number of an event"})


def test_the_accept_field_decides_the_format_of_metrics(ask):
    assert ask("GET", "/metrics", ("Accept", "application/openmetrics-text")).body == b"application/openmetrics-text"


def test_stacks_show_every_greenlet_and_hold_no_address_of_a_client(served, ask):
    with RawClient(served.address, source="127.9.8.7") as other:
        other.send(b"GET /livez HT")
        text = ask("GET", "/stacks").body.decode()
    assert "in _look" in text  # the greenlet of this test
    assert "ConnectionGreenlet\n" in text
    assert "127.9.8.7" not in text


@pytest.mark.parametrize("page", READS)
def test_head_is_the_same_without_the_body(ask, page):
    head, whole = ask("HEAD", page), ask("GET", page)
    assert (head.status, head.body) == (whole.status, b"")
    if page != "/stacks":  # which differ by who asks
        assert head["Content-Length"] == whole["Content-Length"]


@pytest.mark.parametrize("page", [*READS, "/nothing"])
def test_every_answer_has_the_security_fields_and_may_not_be_cached(ask, page):
    response = ask("GET", page)
    check_every_response(response)
    assert response["Cache-Control"] == "no-store"


# what is not there


@pytest.mark.parametrize("target", NOWHERE)
@pytest.mark.parametrize("method", ["TRACE", "DELETE"])
def test_a_method_that_no_page_has_is_405_wherever_it_is_sent(ask, method, target):
    response = ask(method, target)
    assert (response.status, response["Allow"]) == (405, "GET, HEAD, POST")


def test_connect_is_405(ask):
    assert ask("CONNECT", "example.test:443").status == 405


@pytest.mark.parametrize("target", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_does_not_exist_is_404(ask, method, target):
    response = ask(method, target, ("X-Aegis", "1"))
    assert (response.status, response["Content-Type"]) == (404, "application/json")
    assert json.loads(response.body) == {"error": "not found"}


@pytest.mark.parametrize(("targets", "method", "allow"), [(READS, "POST", "GET, HEAD"), (VERBS, "GET", "POST")])
def test_a_method_that_does_not_fit_is_405_with_allow(ask, targets, method, allow):
    for target in targets:
        response = ask(method, target, ("X-Aegis", "1"))
        assert (response.status, response["Allow"]) == (405, allow)
        assert json.loads(response.body) == {"error": "method not allowed"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", "bad_host"),
        (b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        (b"POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_framing"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "bad_field"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000 + b"\r\n\r\n", "head_too_large"),
    ],
)
def test_the_wire_is_as_strict_as_toward_clients(served, raw, reason):
    with RawClient(served.address) as client:
        client.send(raw)
        check_refusal(client.read_response(), reason)


def test_a_bug_of_ours_is_a_500_that_tells_nothing(serve, caplog):
    served = serve()

    def broken():
        raise ValueError("the secret of the house")

    served.verbs.snapshot = broken
    response = asking(served)("GET", "/snapshot")
    check_refusal(response, "internal_error")
    assert "the secret of the house" in caplog.text


# verbs


def test_drain_and_resume(served, ask):
    response = post(ask, "/backends/a/drain")
    assert (response.status, json.loads(response.body)) == (200, {"message": "a gets no new requests, 0 in flight"})
    assert served.watched.state("a").drained
    assert post(ask, "/backends/a/resume").status == 200
    assert not served.watched.state("a").drained


def test_a_name_may_be_percent_encoded(served, ask):
    assert post(ask, "/backends/%61/drain").status == 200
    assert served.watched.state("a").drained


def test_an_unknown_backend_is_404_with_the_names_there_are(ask):
    response = post(ask, "/backends/c/drain")
    assert (response.status, json.loads(response.body)) == (
        404,
        {"error": "no backend is called c; there are: a, b, idle"},
    )


def test_reload_answers_what_it_did(ask):
    response = post(ask, "/reload")
    assert response.status == 200
    assert json.loads(response.body) == {"applied": ["rate_limit.burst: 150 → 200"], "needs_restart": []}


def test_a_verb_that_cannot_be_done_is_409_with_its_words(served, ask):
    served.reload_does = refused
    response = post(ask, "/reload")
    assert (response.status, response["Content-Type"]) == (409, "application/json")
    assert json.loads(response.body) == {"error": "aegis.yml:3: server.port = 0: must be 1 to 65535"}


@pytest.mark.parametrize("target", VERBS)
@pytest.mark.parametrize("fields", [[], [("X-Aegis", "0")], [("X-Aegis", "1"), ("X-Aegis", "1")], [("X_Aegis", "1")]])
def test_a_post_needs_the_field_that_no_page_can_send(served, ask, target, fields):
    response = ask("POST", target, *fields)
    assert response.status == 403
    assert "X-Aegis: 1" in json.loads(response.body)["error"]
    assert not served.watched.state("a").drained


@pytest.mark.parametrize("host", ["evil.test", "localhost", "127.0.0.1", "127.0.0.1:1", "evil.test:9090"])
def test_a_post_needs_the_listen_address_as_its_host(served, ask, host):
    response = post(ask, "/backends/a/drain", host=host)
    assert response.status == 403
    assert served.text in json.loads(response.body)["error"]
    assert not served.watched.state("a").drained


@pytest.mark.parametrize(
    ("listen", "host", "allowed"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090", True),
        ("127.0.0.1:9090", "localhost:9090", False),
        ("127.0.0.1:80", "127.0.0.1", True),
        ("localhost:9090", "LOCALHOST:9090", True),
        ("localhost:9090", "127.0.0.1:9090", True),
        ("localhost:9090", "evil.test:9090", False),
        ("[::1]:9090", "[::1]:9090", True),
        ("[::1]:9090", "::1", False),
        ("0.0.0.0:9090", "192.0.2.7:9090", True),
        ("0.0.0.0:9090", "evil.test:9090", False),
        ("0.0.0.0:9090", "192.0.2.7:9091", False),
        ("[::]:9090", "[2001:db8::1]:9090", True),
        ("unix:/run/a.sock", "localhost", True),
        ("unix:/run/a.sock", "evil.test", False),
        ("127.0.0.1:9090", "", False),
        ("127.0.0.1:9090", "127.0.0.1:\u0669\u0660", False),
    ],
)
def test_which_host_is_the_listen_address(listen, host, allowed):
    assert Hosts(listen).allow(host) is allowed


# the health listener


@pytest.mark.parametrize("target", HEALTH)
def test_the_health_listener_serves_live_ready_and_metrics(serve, target):
    assert asking(serve(health_only=True))("GET", target).status == 200


@pytest.mark.parametrize("target", [page for page in READS if page not in HEALTH])
def test_the_health_listener_shows_nothing_else(serve, target):
    assert asking(serve(health_only=True))("GET", target).status == 404


@pytest.mark.parametrize("target", VERBS)
def test_the_health_listener_has_no_verbs(serve, target):
    served = serve(health_only=True)
    assert post(asking(served), target).status == 404
    assert not served.watched.state("a").drained
