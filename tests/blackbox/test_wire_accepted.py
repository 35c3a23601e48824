"""Every file of tests/cases/accepted against the real program: the backend sees what the `.expect` beside it says."""

from __future__ import annotations

import pytest

from tests.support.cases import CASES, accepted_cases
from tests.support.contract import check_every_response

CONFIG = {"server": {"max_body_bytes": 4096, "allowed_hosts": ["example.test", "*.wild.test"]}}

ACCEPTED = accepted_cases()
SHORT = 200
RUNS = [(case, how) for case in ACCEPTED for how in ("whole", "by_byte") if how == "whole" or len(case.raw) <= SHORT]


def is_subsequence(wanted, fields):
    rest = iter(fields)
    return all(any(line == one for one in rest) for line in wanted)


@pytest.mark.parametrize(("case", "how"), RUNS, ids=[f"{case}-{how}" for case, how in RUNS])
def test_reaches_the_backend_as_expected(case, how, backend, client):
    expect, mark = case.expect, backend.mark()
    client.send(case.raw) if how == "whole" else client.send_byte_by_byte(case.raw)
    response = client.read_response()
    assert response.status == 200, response
    assert response.body == b"hello"
    check_every_response(response)

    (request,) = mark.completed()
    assert (request.method, request.target) == (expect["method"], expect["target"])
    assert request.body == bytes.fromhex(expect.get("body_hex", ""))
    assert is_subsequence([tuple(line) for line in expect.get("fields", [])], request.fields), request.head
    assert not {name.lower() for name, _ in request.fields} & set(expect.get("absent", [])), request.head
    assert len(request.all("Host")) == 1

    if expect.get("closes"):
        assert client.ends_silently(2)
    else:
        assert client.get("/next").status == 200


def test_every_case_has_its_expectation_and_no_expectation_lacks_its_case():
    assert {case.name for case in ACCEPTED} == {path.stem for path in (CASES / "accepted").glob("*.expect")}
