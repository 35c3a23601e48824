"""The table of reasons, written down a second time from the specification (§4)."""

import json

import pytest

from aegis.reasons import ANSWERS, BackendError, Blame, Reason, Refused, phrase

BAD_REQUEST = (400, "bad request", "close")
BAD_GATEWAY = (502, "bad gateway", "keep")
TIMEOUT = (408, "request timeout", "close")

TABLE = {
    "bad_request_line": BAD_REQUEST,
    "bad_field": BAD_REQUEST,
    "bad_host": BAD_REQUEST,
    "bad_target": BAD_REQUEST,
    "bad_framing": BAD_REQUEST,
    "bad_upgrade": BAD_REQUEST,
    "path_traversal": BAD_REQUEST,
    "host_not_allowed": BAD_REQUEST,
    "method_not_allowed": (405, "method not allowed", "keep"),
    "head_timeout": TIMEOUT,
    "body_timeout": TIMEOUT,
    "client_slow": TIMEOUT,
    "body_too_large": (413, "content too large", "close"),
    "target_too_long": (414, "uri too long", "close"),
    "expectation_failed": (417, "expectation failed", "close"),
    "rate_limited": (429, "rate limit exceeded", "keep"),
    "head_too_large": (431, "request header fields too large", "close"),
    "internal_error": (500, "internal server error", "close"),
    "bad_gateway_connect": BAD_GATEWAY,
    "bad_gateway_reset": BAD_GATEWAY,
    "bad_gateway_protocol": BAD_GATEWAY,
    "backend_timeout": BAD_GATEWAY,
    "no_backend": (503, "service unavailable", "keep"),
}
NEVER_SENT = ["ok", "backend_aborted", "client_gone"]


def test_every_reason_has_an_answer_and_every_answer_a_reason():
    assert set(ANSWERS) == set(Reason)


def test_the_set_of_reasons_is_the_specifications():
    assert {reason.value for reason in Reason} == {*TABLE, *NEVER_SENT}


@pytest.mark.parametrize("name", TABLE)
def test_a_refusal_has_the_status_text_and_end_of_the_specification(name):
    status, text, then = TABLE[name]
    answer = ANSWERS[Reason(name)]
    assert (answer.status, answer.text, "close" if answer.close else "keep") == (status, text, then)
    assert answer.body == json.dumps({"error": text}, separators=(",", ":")).encode()
    assert answer.status_line.startswith(f"{status} ")


@pytest.mark.parametrize("name", ["backend_aborted", "client_gone"])
def test_what_broke_off_has_no_text_and_closes(name):
    assert ANSWERS[Reason(name)].text == ""
    assert ANSWERS[Reason(name)].close


def test_a_client_that_is_gone_is_logged_as_499():
    assert ANSWERS[Reason.CLIENT_GONE].status == 499


@pytest.mark.parametrize("name", [*TABLE, *NEVER_SENT])
def test_blame_lies_where_the_status_says(name):
    answer = ANSWERS[Reason(name)]
    expected = {2: Blame.NOBODY, 4: Blame.CLIENT}.get(answer.status // 100, Blame.BACKEND)
    assert answer.blame is (Blame.US if name == "internal_error" else expected)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        ANSWERS[Reason.OK] = ANSWERS[Reason.BAD_FIELD]


def test_every_status_has_a_phrase():
    for status in range(100, 600):
        assert phrase(status)
        assert phrase(status).isprintable()


def test_errors_say_their_reason_and_their_words():
    assert str(Refused(Reason.BAD_HOST, "no Host")) == "bad_host: no Host"
    assert str(Refused(Reason.BAD_HOST)) == "bad_host"
    assert str(BackendError(Reason.BACKEND_TIMEOUT, "late")) == "backend_timeout: late"
