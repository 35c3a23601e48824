from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.http1 import request_line
from aegis.reasons import Reason, Refused
from tests.http1.heads import parse, refused

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"


@pytest.mark.parametrize(
    "line",
    [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / x HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET /",
        "GET",
        "",
        "/ HTTP/1.1",
        " / HTTP/1.1",
        "GET / HTTP/1.1\nX: y",
        "GET / HTTP/1.1\rX: y",
        "GET / HTTP/1.1\r",
    ],
)
def test_anything_but_single_spaces_in_the_request_line_is_refused(line):
    assert refused(line=line) == "bad_request_line"


@pytest.mark.parametrize(
    "version",
    [
        *("HTTP/0.9", "HTTP/1.2", "HTTP/1.10", "HTTP/1.1x", "HTTP/01.1", "HTTP/1", "HTTP/11", "HTTP/2", "HTTP/2.0"),
        *(
            "http/1.1",
            "Http/1.1",
            "HTTPS/1.1",
            "RTSP/1.0",
            "ICE/1.0",
            "HTTP/1,1",
            "HTTP/+1.1",
            "HTTP\\1.1",
            "HTTP/1.1;",
        ),
    ],
)
def test_any_version_text_but_two_is_refused(version):
    assert refused(line=f"GET / {version}") == "bad_request_line"


@pytest.mark.parametrize(("version", "http11"), [("HTTP/1.1", True), ("HTTP/1.0", False)])
def test_two_versions_are_served(version, http11):
    _, _, block = parse(line=f"GET / {version}")
    assert block.http11 is http11


@pytest.mark.parametrize(
    "method", ["G@T", "G(T", "G/T", "G,T", "G:T", "G[T", '"GET"', "G\0T", "G\x7fT", "G\xc9T", "GET\r", "\u00e9"]
)
def test_a_malformed_method_is_refused(method):
    assert refused(line=f"{method} / HTTP/1.1") == "bad_request_line"


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "DELETE", "get", "FOO", "PROPFIND", "M-SEARCH", "TRACE", "X", TOKEN_CHARACTERS]
)
def test_a_well_formed_method_is_left_to_the_validation_layer(method):
    assert parse(line=f"{method} / HTTP/1.1")[0] == method


@pytest.mark.parametrize("target", ["a.test:443", "/", "a.test"])
def test_connect_reaches_the_validation_layer_whatever_its_target(target):
    assert parse(line=f"CONNECT {target} HTTP/1.1")[0] == "CONNECT"


@pytest.mark.parametrize(
    "target",
    [
        *("/", "//", "/a", "/a?", "/?a=b&c", "/a??b", "/a..b", "/./a", "/%", "/%zz", "/%2e%2E", "/a;b=c,d", "/a//b///"),
        *('/"<>^{}|\\`', "/[a]", "/:@", "/*", "/a?x=../..", "/a%00", "/" + "a" * 4000),
    ],
)
def test_an_origin_form_target_passes_byte_for_byte(target):
    assert parse(line=f"GET {target} HTTP/1.1")[1] == target.encode()


@pytest.mark.parametrize("code", [*range(0x20), 0x23, *range(0x7F, 0x100)])
def test_a_target_with_a_control_byte_a_fragment_or_a_byte_above_ascii_is_refused(code):
    reason = refused(line=b"GET /a" + bytes([code]) + b"b HTTP/1.1")
    assert reason in {"bad_target", "bad_request_line"}  # a CR or LF ends the line before the target is looked at


@pytest.mark.parametrize(
    "target",
    [
        *("*", "*a", "a", "a/b", "?a", "#", "a.test:80", "ftp://a.test/", "http:/a.test/", "http:a.test", "://a.test/"),
        *("http://", "http:///a", "http://@a.test/", "http://u@a.test/", "http://u:p@a.test/", "http://a.test@b.test/"),
        *("http://a.test#f", "http://a.test/#f", "http://a.test:/x", "http://a.test:x/", "http://a test/"),
        *("http://a.test\\b/", "http://[::1/", "http://a.test:123456/", "http://a,b/"),
    ],
)
def test_a_target_in_no_form_of_ours_is_refused(target):
    assert refused(line=f"GET {target} HTTP/1.1") in {"bad_target", "bad_request_line"}


def test_an_asterisk_is_for_options_alone():
    assert parse(line="OPTIONS * HTTP/1.1")[1] == b"*"
    for method in ("GET", "HEAD", "POST", "DELETE"):
        assert refused(line=f"{method} * HTTP/1.1") == "bad_target"


@pytest.mark.parametrize(
    ("method", "target", "host", "origin"),
    [
        ("GET", "http://a.test/x?y=z", "a.test", "/x?y=z"),
        ("GET", "http://a.test", "a.test", "/"),
        ("GET", "http://a.test?q", "a.test", "/?q"),
        ("GET", "HTTP://A.TEST/X", "a.test", "/X"),
        ("GET", "http://a.test:80/", "a.test", "/"),
        ("GET", "http://a.test/", "a.test:80", "/"),
        ("GET", "https://a.test/", "a.test:443", "/"),
        ("GET", "http://a.test:8080/", "a.test:8080", "/"),
        ("GET", "http://a.test./", "a.test", "/"),
        ("GET", "http://[::1]:81/a", "[::1]:81", "/a"),
        ("GET", 'http://a.test/%2e%zz/"<>', "a.test", '/%2e%zz/"<>'),
        ("OPTIONS", "http://a.test", "a.test", "*"),
        ("OPTIONS", "http://a.test/", "a.test", "/"),
    ],
)
def test_an_absolute_target_goes_out_in_origin_form_with_path_and_query_untouched(method, target, host, origin):
    assert parse(line=f"{method} {target} HTTP/1.1", host=host)[1] == origin.encode()


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://b.test/", "a.test"),
        ("http://a.test:81/", "a.test"),
        ("http://a.test/", "a.test:81"),
        ("https://a.test/", "a.test:80"),
        ("http://a.test.evil/", "a.test"),
        ("http://127.0.0.1/", "127.0.0.2"),
    ],
)
def test_a_host_that_contradicts_an_absolute_target_is_refused(target, host):
    assert refused(line=f"GET {target} HTTP/1.1", host=host) == "bad_host"
    assert refused(line=f"GET {target} HTTP/1.0", host=host) == "bad_host"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.test", "a.test"),
        ("A.TeSt", "a.test"),
        ("a.test.", "a.test"),
        ("a.test:8080", "a.test"),
        ("A.test.:1", "a.test"),
        ("a-b_c.test", "a-b_c.test"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("[::FFFF:1.2.3.4]", str(ip_address("::ffff:1.2.3.4"))),
        ("localhost:65535", "localhost"),
    ],
)
def test_a_host_is_compared_case_folded_without_port_brackets_and_trailing_dot(host, name):
    assert parse(host=host)[2].host_name == name
    assert parse(host=host)[2].host == host.encode()  # and kept as it came


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            " ",
            "a b",
            "a\tb",
            "a,b",
            "a@b",
            "u:p@a.test",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "<a>",
            '"a"',
            "a;b",
            "*",
            "*.a",
        ),
        *(":80", "a:b", "a:80:80", "a:-1", "a:+1", "a:65536", "a:99999", "a:123456", "a: 80", "http://a.test"),
        *("[::1", "::1]", "::1", "[zz]", "[]", "[::1]x", "x[::1]", "a\xe9", "a\x80b", "a%41"),
    ],
)
def test_a_malformed_host_is_refused(host):
    assert refused(host=host) == "bad_host"


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_missing_or_repeated_host_is_refused_in_both_versions(version):
    line = f"GET / {version}"
    assert refused(line=line, host=None) == "bad_host"
    assert refused("Host: a.test", line=line) == "bad_host"
    assert refused("X-A: 1", "hOST: b.test", line=line) == "bad_host"
    assert refused("Host:", line=line) == "bad_host"


@given(st.binary(max_size=40) | st.from_regex(rb"[A-Z/* ]{0,12}HTTP/1\.[01] ?", fullmatch=True))
@settings(deadline=None, max_examples=300)
def test_a_line_is_taken_apart_without_loss_or_refused(line):
    reason = None
    try:
        method, target, version = request_line.split(line)
    except Refused as refusal:
        reason = refusal.reason
    else:
        assert b" ".join((method.encode(), target, version)) == line
    assert reason in {None, Reason.BAD_REQUEST_LINE}


# what is told of a head that was refused


@pytest.mark.parametrize(
    ("head", "method", "target"),
    [
        (b"GET /a?secret=1 HTTP/2.0\r\n", "GET", b"/a"),
        (b"\r\n\r\nGET /a HTTP/1.1\r\n", "GET", b"/a"),
        (b"GET /a\r\n", "GET", b"/a"),
        (b"GET http://user:password@a.test/b?c HTTP/1.1\r\n", "GET", b"http://a.test/b"),
        (b"GET http://user:password@a.test HTTP/1.1\r\n", "GET", b"http://a.test"),
        (b"GET user:password@a.test/b HTTP/1.1\r\n", "GET", b"a.test/b"),
        (b"GET /a#fragment HTTP/1.1\r\n", "GET", b"/a"),
        (b"GET /\xff HTTP/1.1\r\n", "GET", b""),
        (b"GET /\x01 HTTP/1.1\r\n", "GET", b""),
        (b"G\x00T / HTTP/1.1\r\n", "-", b""),
        (b"\x16\x03\x01\x02\x00", "-", b""),
        (b"", "-", b""),
    ],
)
def test_of_a_refused_head_method_and_target_are_told_without_what_is_secret(head, method, target):
    assert request_line.glimpse(head) == (method, target)


def test_a_long_method_is_cut_before_it_is_logged():
    method, _ = request_line.glimpse(b"M" * 2000 + b" / HTTP/1.1\r\n")
    assert set(method) == {"M"}
    assert len(method) < 100


@pytest.mark.parametrize("host", [b"[::1", b"[1:2:3]", b"[:::]", b"[1::2::3]"])
def test_brackets_around_what_is_no_address_are_a_malformed_host(host):
    with pytest.raises(Refused) as caught:
        request_line.host_name(host)
    assert caught.value.reason is Reason.BAD_HOST
