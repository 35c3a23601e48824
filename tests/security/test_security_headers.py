import pytest

from aegis.http1.response_head import parse
from aegis.reasons import ANSWERS, Reason
from aegis.security.headers import SecurityHeaders, secured
from tests.security.layers import innermost, request, through
from tests.support.contract import SECURITY_FIELDS

OURS = list(SECURITY_FIELDS.items())


def answering(fields, status="200 OK"):
    def app(environ, start_response):
        start_response(status, fields)
        return [b"x"]

    return SecurityHeaders(app)


def test_an_answer_leaves_with_every_security_field_once_and_exact():
    answered = through(answering([("A", "1")]), request())
    assert answered.fields == [("A", "1"), *OURS]


@pytest.mark.parametrize("name", SECURITY_FIELDS)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_ours_replace_those_of_the_backend(name, spelling):
    theirs = [("A", "1"), (spelling(name), "theirs"), ("B", "2"), (name, "theirs too")]
    assert through(answering(theirs), request()).fields == [("A", "1"), ("B", "2"), *OURS]


@pytest.mark.parametrize("name", ["X-Powered-By", "x-powered-by", "X-POWERED-BY"])
def test_x_powered_by_is_removed(name):
    assert through(answering([(name, "PHP"), ("A", "1")]), request()).fields == [("A", "1"), *OURS]


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].text])
def test_every_refusal_carries_them(reason):
    answered = through(SecurityHeaders(innermost), request(reason=reason))
    for name, value in OURS:
        assert answered.all(name) == [value]
    assert answered.status[:3] == str(ANSWERS[reason].status)


def test_a_head_of_a_backend_is_secured_from_the_start_and_leaves_as_it_is():
    head = parse(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nA: 1\r\n")
    before = list(head)
    assert before == [("A", "1"), *OURS]
    assert through(answering(head), request()).fields is head
    assert list(head) == before


@pytest.mark.parametrize("container", [list, tuple])
def test_only_a_head_of_ours_is_taken_as_secured(container):
    theirs = container([("secured", "True"), ("Server", "theirs")])
    assert through(answering(theirs), request()).fields == [("secured", "True"), *OURS]


def test_the_list_of_an_app_is_not_changed():
    fields = [("Server", "mine")]
    through(answering(fields), request())
    assert fields == [("Server", "mine")]


def test_names_outside_ascii_do_no_harm():
    assert secured([("X-\xe9", "\xe9")]) == [("X-\xe9", "\xe9"), *OURS]
