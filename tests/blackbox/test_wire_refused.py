"""Every file of tests/cases/refused against the real program: sent whole, and byte by byte where it is short."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import CASES, refused_cases
from tests.support.contract import ACCESS_FIELDS, REFUSALS, check_refusal
from tests.support.poll import eventually
from tests.support.raw_client import RawClient

if TYPE_CHECKING:
    from tests.support.raw_client import Response
    from tests.support.scripted_backend import Request

pytestmark = pytest.mark.timeout(180)  # the first test waits until all cases have run

CONFIG = {"server": {"max_body_bytes": 4096, "allowed_hosts": ["example.test", "*.wild.test"]}}

REFUSED = refused_cases()
SHORT = 200  # bytes; cases up to this length are sent byte by byte too
RUNS = [(case, how) for case in REFUSED for how in ("whole", "by_byte") if how == "whole" or len(case.raw) <= SHORT]


@dataclass
class Outcome:
    """What came of one case. `received`: the bytes that reached the backend before the sentinel."""

    response: Response | None = None
    served_again: bool = False  # a second request on the same connection was answered
    ended: bool = False  # no byte after the response, then a clean end
    received: bytes = b""
    completed: list[Request] = field(default_factory=list)
    log: list[dict] = field(default_factory=list)
    error: BaseException | None = None


@pytest.fixture(scope="module")
def outcomes(aegis, backend):
    """Run all cases first, then look at them: the access lines of all are waited for once."""
    done = {(case.name, how): _run(aegis, backend, case, how) for case, how in RUNS}
    ids = [o.response["X-Request-ID"] for o in done.values() if o.response and "X-Request-ID" in o.response]
    with suppress(AssertionError):  # the cases without a line fail one by one
        eventually(lambda: {line["request_id"] for line in aegis.access_lines()}.issuperset(ids), "the access lines")
    logged = defaultdict(list)
    for line in aegis.access_lines():
        logged[line["request_id"]].append(line)
    for outcome in done.values():
        if outcome.response:
            outcome.log = logged[outcome.response["X-Request-ID"]]
    return done


def _run(aegis, backend, case, how):
    outcome = Outcome()
    mark = backend.mark()
    try:
        with RawClient(aegis.address, timeout=2) as client:
            client.send(case.raw) if how == "whole" else client.send_byte_by_byte(case.raw)
            outcome.response = client.read_response("HEAD" if case.to_head else "GET")
            if "close" in outcome.response.tokens("Connection"):
                outcome.ended = client.ends_silently(2)
            else:
                outcome.served_again = client.get("/sentinel").status == 200
    except (AssertionError, OSError) as error:
        outcome.error = error
    with RawClient(aegis.address) as client:  # once this came through, nothing of the case is still under way
        assert client.get("/sentinel").body == b"hello"
    outcome.received = mark.received()
    for request in mark.completed():
        if request.target == "/sentinel":
            outcome.received = outcome.received.replace(request.head, b"")
        else:
            outcome.completed.append(request)
    return outcome


@pytest.mark.parametrize(("case", "how"), RUNS, ids=[f"{case}-{how}" for case, how in RUNS])
def test_refused_with_its_reason_and_nothing_forwarded(case, how, outcomes):
    outcome = outcomes[case.name, how]
    if outcome.error:
        raise AssertionError(f"sent {case.raw[:300]!r}") from outcome.error
    assert [line["reason"] for line in outcome.log] == [next(iter(outcome.log), {}).get("reason")], outcome.log
    (line,) = outcome.log
    assert line["reason"] in case.reasons, f"{case.raw[:300]!r} → {outcome.response}"
    assert set(line) >= ACCESS_FIELDS
    assert line["status"] == outcome.response.status
    check_refusal(outcome.response, line["reason"], to_head=case.to_head)
    assert outcome.ended is not outcome.served_again
    if not case.unknown_length:  # kept only if at most 64 KiB are still to come: of a chunked body no one can tell
        assert outcome.ended is REFUSALS[line["reason"]].closes
    assert outcome.completed == []
    assert b"/smuggled" not in outcome.received
    if not case.streamed:
        assert outcome.received == b""
        assert not line["backend"]


def test_no_request_has_two_access_lines(aegis, outcomes):
    ids = [line["request_id"] for line in aegis.access_lines()]
    assert len(ids) == len(set(ids))


def test_every_case_has_known_reasons_and_no_reason_lacks_its_case():
    assert {case.name for case in REFUSED} == {path.stem for path in (CASES / "refused").glob("*.reason")}
    assert all(case.reasons <= REFUSALS.keys() for case in REFUSED)
