import pytest

from aegis.proxy.retry import may_retry
from aegis.reasons import BackendError, Reason, Replay
from tests.security.layers import request

METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "FOO"]
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


def failure(replay):
    return BackendError(Reason.BAD_GATEWAY_RESET, "x", replay)


def allowed(method, replay, *, replayed=False, body=False):
    context = request(f"{method} / HTTP/1.1")
    context.attempts = 2 if replayed else 1
    if body:
        context.body = object()
    return may_retry(context, failure(replay), replayed=replayed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [False, True])
def test_a_connect_failure_moves_to_another_backend_whatever_the_request(method, body):
    # Nothing was sent yet, so nothing is sent twice.
    assert allowed(method, Replay.ANOTHER_BACKEND, body=body)


@pytest.mark.parametrize("method", METHODS)
def test_only_an_idempotent_request_without_body_is_tried_again_on_a_fresh_connection(method):
    assert allowed(method, Replay.FRESH_CONNECTION) is (method in IDEMPOTENT)
    assert not allowed(method, Replay.FRESH_CONNECTION, body=True)


def test_it_is_tried_again_once():
    assert not allowed("GET", Replay.FRESH_CONNECTION, replayed=True)


@pytest.mark.parametrize("method", METHODS)
def test_what_got_a_response_byte_is_never_sent_twice(method):
    assert not allowed(method, Replay.NEVER)
    assert not allowed(method, Replay.NEVER, replayed=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [False, True])
def test_what_was_not_sent_is_sent_over_a_fresh_connection_whatever_the_request(method, body):
    assert allowed(method, Replay.UNSENT, body=body)
    assert allowed(method, Replay.UNSENT, replayed=True, body=body)
