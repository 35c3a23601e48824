"""What changes for a peer in `security.trusted_proxies`, and only for it."""

from __future__ import annotations

import pytest

from tests.support.contract import REQUEST_ID
from tests.support.raw_client import RawClient

CONFIG = {"security": {"trusted_proxies": ["127.5.0.0/16"]}}


def seen(aegis, backend, source, fields):
    mark = backend.mark()
    with RawClient(aegis.address, source=source) as client:
        response = client.get("/seen", fields)
    assert response.status == 200
    (request,) = mark.completed()
    return request, response


def test_forwarded_for_is_appended_to(aegis, backend):
    request, _ = seen(aegis, backend, "127.5.77.91", [("X-Forwarded-For", "203.0.113.7")])
    assert [part.strip() for value in request.all("X-Forwarded-For") for part in value.split(",")] == [
        "203.0.113.7",
        "127.5.77.91",
    ]


def test_others_are_rewritten_still(aegis, backend):
    request, _ = seen(aegis, backend, "127.6.1.1", [("X-Forwarded-For", "203.0.113.7")])
    assert request.all("X-Forwarded-For") == ["127.6.1.1"]


def test_request_id_is_kept_and_echoed(aegis, backend):
    request, response = seen(aegis, backend, "127.5.77.91", [("X-Request-ID", "Trace-1._x")])
    assert request.all("X-Request-ID") == response.all("X-Request-ID") == ["Trace-1._x"]


@pytest.mark.parametrize("bad", ["", "a" * 129, "a b", "a\u00e9", "a/b", "a,b", '"a"'])
def test_malformed_request_id_is_replaced(aegis, backend, bad):
    request, response = seen(aegis, backend, "127.5.77.91", [("X-Request-ID", bad)])
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])
    assert request.all("X-Request-ID") == [response["X-Request-ID"]]


def test_repeated_request_ids_end_as_one(aegis, backend):
    request, response = seen(aegis, backend, "127.5.77.91", [("X-Request-ID", "one"), ("X-Request-ID", "two")])
    assert len(request.all("X-Request-ID")) == 1
    assert request["X-Request-ID"] == response["X-Request-ID"]
