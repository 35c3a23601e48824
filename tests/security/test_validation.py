import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.reasons import Reason, Refused
from aegis.security.hosts import HostWhitelist, whitelist
from aegis.security.validation import Validation, check_path
from tests.security.layers import innermost, request, through

METHODS = ("GET", "HEAD", "POST")


def verdict(target):
    try:
        check_path(target.encode("latin-1"))
    except Refused as refusal:
        return refusal.reason
    return Reason.OK


CLIMBS = [
    *("/..", "/../", "/../a", "/a/..", "/a/../b", "/a/b/../..", "..", "../a", "//..", "/..//", "/./..", "/a/.././b"),
    # written otherwise, once
    *("/%2e%2e", "/%2E%2e/a", "/.%2e/a", "/%2e./a", "/a/%2e%2e/b", "/a%2f..%2fb", "/a/..%2fb", "/a%2f../b", "/..%2F"),
    # and twice
    *(
        "/%252e%252e/a",
        "/%252E%252E",
        "/a/.%252e/b",
        "/a%252f..%252fb",
        "/%25%32%65%25%32%65/a",
        "/a/..%252fb",
        "/%2%65.",
    ),
    # backslashes are separators
    *("/..\\a", "\\..\\a", "/a\\..\\b", "/a\\..", "/%5c..", "/a%5c..%5cb", "/a%255c..%255cb", "/..%5c", "/%2e%2e%5c"),
    # parameters of a segment
    *(
        "/..;x",
        "/..;/",
        "/..;x=y/a",
        "/a/..;/b",
        "/..%3b",
        "/..%3Bx/a",
        "/%2e%2e;x",
        "/..%253bx",
        "/%2e%2e%3b/a",
        "/..;a;b",
    ),
]

FINE = [
    *(
        "/",
        "/a..b",
        "/..a",
        "/a..",
        "/...",
        "/....",
        "/a/...",
        "/.",
        "/./",
        "/a/./b",
        "/.a",
        "/a.",
        "/a..;x",
        "/;..",
        "/a;..",
    ),
    *(
        "/?..",
        "/?/../",
        "/a?b=../../c",
        "/?%2e%2e/",
        "/?a=%00",
        "/?\\..\\",
        "/%2e",
        "/%2e/",
        "/%2ea",
        "/a%2e%2eb",
        "/%2e%2e%2e",
    ),
    *(
        "//",
        "/a//b",
        "/%",
        "/%zz",
        "/%%",
        "/%2",
        "/%20",
        "/%e9",
        "/%C3%A9",
        "/%2f",
        "/a%2fb",
        "/a\\b",
        "*",
        "/%25",
        "/%2525",
    ),
    *("/%25252e%25252e/", "/a b", "/.%2e.", "/..%20", "/.. ", "/..\xe9", "/%2e%2e%20"),
]

HIDDEN_CONTROLS = [
    *(
        "/%00",
        "/a%00b",
        "/%0a",
        "/%0d%0a",
        "/a%09",
        "/%1f",
        "/%7f",
        "/%2500",
        "/%250a",
        "/%25%30%30",
        "/..%00",
        "/%7F/",
    ),
    *("/a%0D", "/%01"),
]


@pytest.mark.parametrize("target", CLIMBS)
def test_a_dot_dot_segment_is_refused_after_up_to_two_rounds_of_decoding(target):
    assert verdict(target) is Reason.PATH_TRAVERSAL


@pytest.mark.parametrize("target", FINE)
def test_what_does_not_climb_passes(target):
    assert verdict(target) is Reason.OK


@pytest.mark.parametrize("target", HIDDEN_CONTROLS)
def test_nul_and_control_characters_are_refused_however_they_are_written(target):
    assert verdict(target) is Reason.PATH_TRAVERSAL


def encoded(text, rounds, upper):
    for _ in range(rounds):
        text = "".join(f"%{ord(each):02{'X' if upper else 'x'}}" for each in text)
    return text


@given(
    st.lists(st.tuples(st.sampled_from("/\\.;"), st.integers(0, 2), st.booleans()), max_size=10),
    st.sampled_from(["", "a", "a/"]),
)
@settings(deadline=None, max_examples=400)
def test_each_character_may_be_written_at_a_depth_of_its_own_and_is_judged_as_what_it_is(parts, start):
    plain = "/" + start + "".join(character for character, _, _ in parts)
    written = "/" + start + "".join(encoded(*part) for part in parts)
    if verdict(plain) is Reason.PATH_TRAVERSAL:
        assert verdict(written) is Reason.PATH_TRAVERSAL
    assert verdict(plain + "?" + written) is verdict(plain)  # the query is no path


# the whitelist


@pytest.mark.parametrize(
    ("names", "host", "served"),
    [
        (["a.test"], "a.test", True),
        (["A.Test"], "a.test", True),
        (["a.test."], "a.test", True),
        (["a.test"], "A.TEST", True),
        (["a.test"], "a.test.", True),
        (["a.test"], "a.test:8080", True),
        (["a.test"], "b.test", False),
        (["a.test"], "b.a.test", False),
        (["a.test"], "xa.test", False),
        (["a.test"], "a.test.evil", False),
        (["*.a.test"], "b.a.test", True),
        (["*.a.test"], "c.b.A.test.:1", True),
        (["*.A.TEST"], "b.a.test", True),
        (["*.a.test"], "a.test", False),
        (["*.a.test"], "xa.test", False),
        (["*.a.test"], "b.a.test.evil", False),
        (["*"], "whatever.test", True),
        (["*"], "[::1]:80", True),
        (["[::1]"], "[::1]", True),
        (["::1"], "[::1]:80", True),
        (["2001:DB8::1"], "[2001:db8::1]", True),
        (["::1"], "[::2]", False),
        (["127.0.0.1"], "127.0.0.1:1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["a.test", "*.b.test"], "x.b.test", True),
        (["a.test", "*.b.test"], "a.test", True),
        (["a.test", "*.b.test"], "b.test", False),
    ],
)
def test_a_host_is_served_when_it_is_listed_exactly_by_suffix_or_by_an_asterisk(names, host, served):
    layer = Validation(innermost, HostWhitelist(names), METHODS, 100)
    context = request(host=host)
    assert through(layer, context).status == ("200 OK" if served else "400 Bad Request")
    assert context.reason is (Reason.OK if served else Reason.HOST_NOT_ALLOWED)


def test_without_a_list_the_backends_the_loopback_names_and_the_listen_host_are_served():
    hosts = whitelist([], ["one.test", "10.0.0.5"], "proxy.test")
    for name in ("one.test", "10.0.0.5", "proxy.test", "localhost", "127.0.0.1", "::1"):
        assert name in hosts
    assert "two.test" not in hosts


def test_a_list_replaces_those():
    hosts = whitelist(["a.test"], ["one.test"], "proxy.test")
    assert "a.test" in hosts
    assert not [name for name in ("one.test", "proxy.test", "localhost", "127.0.0.1") if name in hosts]


def test_a_whitelist_says_what_is_on_it():
    assert "a.test" in repr(HostWhitelist(["a.test"]))
    assert "*" in repr(HostWhitelist(["*"]))


# the layer alone


@pytest.fixture
def layer():
    return Validation(innermost, HostWhitelist(["a.test"]), METHODS, 100)


def refused(layer, context):
    answered = through(layer, context)
    assert answered.body == b'{"error":"bad request"}' or context.reason not in {
        Reason.HOST_NOT_ALLOWED,
        Reason.PATH_TRAVERSAL,
    }
    return context.reason, answered.status


def test_a_good_request_reaches_the_app(layer):
    context = request("GET /a?b HTTP/1.1")
    assert through(layer, context).body == b"proxied"
    assert context.reason is Reason.OK


@pytest.mark.parametrize("method", ["PUT", "CONNECT", "TRACE", "get", "PROPFIND", "X"])
def test_a_method_that_is_not_listed_is_405_with_allow(layer, method):
    context = request(f"{method} / HTTP/1.1")
    assert refused(layer, context) == (Reason.METHOD_NOT_ALLOWED, "405 Method Not Allowed")
    assert b"Allow: GET, HEAD, POST\r\n" in context.extra


def test_a_host_that_is_not_served_is_400_and_the_log_says_which_and_what_would_allow_it(layer):
    context = request(host="evil.test")
    assert refused(layer, context) == (Reason.HOST_NOT_ALLOWED, "400 Bad Request")
    assert "evil.test" in context.detail
    assert "allowed_hosts" in context.detail


@pytest.mark.parametrize("target", ["/..", "/%2e%2e/a", "/%252e%252e", "/a\\..\\b", "/..;x", "/%00", "/%250a"])
def test_a_path_that_climbs_is_400(layer, target):
    assert refused(layer, request(f"GET {target} HTTP/1.1")) == (Reason.PATH_TRAVERSAL, "400 Bad Request")


def test_a_path_in_absolute_form_is_judged_too(layer):
    assert refused(layer, request("GET http://a.test/%2e%2e/ HTTP/1.1"))[0] is Reason.PATH_TRAVERSAL


def test_dots_in_the_query_are_none_of_its_business_and_the_target_stays_as_it_came(layer):
    context = request("GET /a..b/%2e?x=/../%00 HTTP/1.1")
    assert through(layer, context).body == b"proxied"
    assert context.target == b"/a..b/%2e?x=/../%00"


@pytest.mark.parametrize(
    ("length", "reason"), [(100, Reason.OK), (101, Reason.BODY_TOO_LARGE), (10**18, Reason.BODY_TOO_LARGE)]
)
def test_a_declared_body_over_the_limit_is_413(layer, length, reason):
    context = request("POST / HTTP/1.1", f"Content-Length: {length}")
    answered = through(layer, context)
    assert context.reason is reason
    assert answered.status[:3] == ("200" if reason is Reason.OK else "413")


def test_a_chunked_body_is_counted_where_it_streams(layer):
    assert through(layer, request("POST / HTTP/1.1", "Transfer-Encoding: chunked")).body == b"proxied"


@pytest.mark.parametrize(
    "reason", [Reason.BAD_FIELD, Reason.HEAD_TOO_LARGE, Reason.HEAD_TIMEOUT, Reason.EXPECTATION_FAILED]
)
def test_what_the_wire_refused_keeps_its_reason(layer, reason):
    context = request("TRACE /.. HTTP/1.1", host="evil.test", reason=reason)
    assert through(layer, context).status[:3] in {"400", "431", "408", "417"}
    assert context.reason is reason


def test_connect_and_trace_are_refused_before_their_host_is_looked_at(layer):
    assert refused(layer, request("CONNECT evil.test:443 HTTP/1.1", host="evil.test"))[0] is Reason.METHOD_NOT_ALLOWED
