import pytest

from aegis.http1.framing import Framing
from aegis.http1.request_head import RequestHeads
from tests.http1.heads import block, environ, forwarded, forwarded_lines, head, parse, refused

HOP_BY_HOP = [
    *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer"),
    *("Trailers", "Transfer-Encoding", "Upgrade"),
]
CLAIMS = [
    *(
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
    ),
    *("X-Real-IP", "X-Client-IP", "True-Client-IP", "X-Forwarded-Anything"),
]


# what goes on


def test_fields_go_on_in_their_order_and_multiplicity_with_their_own_spelling():
    fields = ["X-b: 2", "Accept: a", "x-B: 1", "ACCEPT: b", "Cookie: c=1", "Cookie: d=2", "Accept: a"]
    assert forwarded(*fields) == [tuple(each.split(": ")) for each in fields]
    assert forwarded(*fields, trusted=True) == [tuple(each.split(": ")) for each in fields]


def test_host_goes_on_as_it_came_and_where_it_stood():
    lines = forwarded_lines("Accept: a", "hOsT: A.Test:80", "X: y", host=None)
    assert lines == [("Accept", "a"), ("hOsT", "A.Test:80"), ("X", "y")]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("X:y", "y"),
        ("X: y", "y"),
        ("X: \t y \t ", "y"),
        ("X:", ""),
        ("X:   ", ""),
        ("X: a  b\tc", "a  b\tc"),
        ("X: \x80\xff\xe9", "\x80\xff\xe9"),
        ('X: a: b, c;d="e"', 'a: b, c;d="e"'),
    ],
)
def test_a_value_passes_unchanged_but_for_the_white_space_around_it(raw, value):
    assert forwarded(raw) == [("X", value)]
    assert environ(raw)["HTTP_X"] == value


@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
@pytest.mark.parametrize("name", [each for each in HOP_BY_HOP if each != "Transfer-Encoding"])
def test_hop_by_hop_fields_are_stripped(name, spelling):
    assert forwarded(f"{spelling(name)}: x", "Kept: 1") == [("Kept", "1")]
    assert forwarded(f"{spelling(name)}: x", "Kept: 1", trusted=True) == [("Kept", "1")]


@pytest.mark.parametrize(
    "connection",
    [
        ["X-Gone"],
        ["x-gone"],
        ["close, X-GONE"],
        ["X-Gone,close"],
        [" , X-Gone ,"],
        ["close", "\tx-gone\t"],
        ["keep-alive", "upgrade", "X-Gone"],
        ["X-Other, X-Gone"],
    ],
)
def test_whatever_connection_names_is_stripped_wherever_it_stands(connection):
    fields = ["X-Gone: 1", *(f"Connection: {value}" for value in connection), "Kept: 1", "x-gone: 2"]
    assert forwarded(*fields) == [("Kept", "1")]
    assert forwarded(*fields, trusted=True) == [("Kept", "1")]


@pytest.mark.parametrize("connection", ["", ",", "close,", ",close", "close, , x", " , "])
@pytest.mark.parametrize(
    ("framing", "line"),
    [("Content-Length: 5", ("Content-Length", "5")), ("Transfer-Encoding: chunked", ("Transfer-Encoding", "chunked"))],
)
def test_an_empty_connection_token_names_nothing(connection, framing, line):
    # Without its Host or its framing a request means something else to the backend: its body would be the next one.
    lines = forwarded_lines("X: y", f"Connection: {connection}", framing, "Kept: 1", line="POST / HTTP/1.1")
    assert ("Host", "a.test") in lines
    assert line in lines
    assert ("Kept", "1") in lines


@pytest.mark.parametrize("name", ["host", "content-length", "Content-Length", "Host"])
def test_connection_cannot_strip_what_routes_or_frames_a_request(name):
    lines = forwarded_lines("Content-Length: 5", f"Connection: {name}, close", line="POST / HTTP/1.1")
    assert lines == [("Host", "a.test"), ("Content-Length", "5")]


def test_connection_cannot_strip_the_coding_of_a_body():
    lines = forwarded_lines("Transfer-Encoding: chunked", "Connection: transfer-encoding", line="POST / HTTP/1.1")
    assert ("Transfer-Encoding", "chunked") in lines


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_about_the_peer_are_dropped_from_untrusted_peers(name):
    for spelling in (name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "_", 1).lower()):
        assert forwarded(f"{spelling}: 6.6.6.6", "Kept: 1") == [("Kept", "1")]


@pytest.mark.parametrize("name", ["X-Request-ID", "x-request-id", "X_Request_ID", "X-Request_Id"])
def test_a_request_id_is_never_forwarded_as_a_field_of_the_client(name):
    assert forwarded(f"{name}: abc", "Kept: 1") == [("Kept", "1")]
    assert forwarded(f"{name}: abc", "Kept: 1", trusted=True) == [("Kept", "1")]


@pytest.mark.parametrize("name", ["X-Forward", "X-Real-IPs", "Via", "Client-IP", "traceparent", "tracestate", "X-Via"])
def test_other_fields_are_no_claims(name):
    assert forwarded(f"{name}: 1") == [(name, "1")]


def test_names_with_an_underscore_are_forwarded_and_never_enter_the_environ():
    assert forwarded("X_A: 1", "_: 2", "X-B: 3", "Content_Type: t") == [
        ("X_A", "1"),
        ("_", "2"),
        ("X-B", "3"),
        ("Content_Type", "t"),
    ]
    found = environ("X_A: 1", "_: 2", "X-B: 3", "Content_Type: t")
    assert [key for key in found if key.startswith(("HTTP_", "CONTENT_"))] == ["HTTP_HOST", "HTTP_X_B"]


def test_an_underscore_name_does_not_join_the_value_of_its_look_alike():
    assert environ("X_A: evil", "X-A: good", "X_A: evil")["HTTP_X_A"] == "good"


@pytest.mark.parametrize(("raw", "printed"), [("7", "7"), ("007", "7"), ("0", "0"), ("000", "0"), (" 42\t", "42")])
def test_a_content_length_is_printed_anew(raw, printed):
    lines = forwarded_lines(f"Content-Length: {raw}", line="POST / HTTP/1.1")
    assert lines == [("Host", "a.test"), ("Content-Length", printed)]


def test_names_that_never_repeat_mean_what_they_mean():
    for number in range(0, 5000, 4):
        names = [f"X-{number}-{place}" for place in range(4)]
        claim = f"X-Forwarded-{number}"
        assert forwarded(*(f"{name}: 1" for name in names), f"{claim}: 1") == [(name, "1") for name in names]


# the environ


def test_the_environ_has_the_fields_under_their_cgi_names():
    found = environ("Content-Type: text/plain", "Content-Length: 3", "X-A: 1", "ACCEPT: b")
    assert found["CONTENT_TYPE"] == "text/plain"
    assert found["CONTENT_LENGTH"] == "3"
    assert found["HTTP_X_A"] == "1"
    assert found["HTTP_ACCEPT"] == "b"
    assert found["HTTP_HOST"] == "a.test"
    assert "HTTP_CONTENT_TYPE" not in found
    assert "HTTP_CONTENT_LENGTH" not in found


@pytest.mark.parametrize("value", ["", "1", "xy", "\xe9"])
def test_equal_repeated_fields_are_joined_too(value):
    found = environ(f"X-A: {value}", f"Cookie: {value}", f"X-A: {value}", f"Cookie: {value}", f"X-A: {value}")
    assert found["HTTP_X_A"] == ", ".join([value] * 3)
    assert found["HTTP_COOKIE"] == f"{value}; {value}"


def test_repeated_fields_are_joined_in_the_environ():
    found = environ("X-A: 1", "Cookie: a=1", "x-a: 2", "Cookie: b=2", "X-A:")
    assert found["HTTP_X_A"] == "1, 2, "
    assert found["HTTP_COOKIE"] == "a=1; b=2"


# keep-alive


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.0", [], False),
        ("HTTP/1.1", ["close"], False),
        ("HTTP/1.1", ["CLOSE"], False),
        ("HTTP/1.1", ["x", "y, close"], False),
        ("HTTP/1.1", ["keep-alive"], True),
        ("HTTP/1.0", ["keep-alive"], True),
        ("HTTP/1.0", ["Keep-Alive, x"], True),
        ("HTTP/1.0", ["keep-alive, close"], False),
        ("HTTP/1.1", ["closed"], True),
        ("HTTP/1.1", ["x-close"], True),
    ],
)
def test_connection_tokens_are_honoured(version, connection, keeps):
    fields = [f"Connection: {value}" for value in connection]
    assert block(*fields, line=f"GET / {version}").keep_alive is keeps


# Expect


def test_an_expect_is_answered_by_us_and_not_forwarded():
    fields = ["Expect: 100-continue", "Content-Length: 3"]
    assert block(*fields, line="POST / HTTP/1.1").expects_continue is True
    assert ("Expect", "100-continue") not in forwarded(*fields, line="POST / HTTP/1.1")


def test_an_expect_in_any_case_is_known():
    assert block("expect: 100-CONTINUE", "Transfer-Encoding: chunked", line="POST / HTTP/1.1").expects_continue is True


def test_without_a_body_there_is_nothing_to_continue():
    assert block("Expect: 100-continue").expects_continue is False
    assert block("Expect: 100-continue", "Content-Length: 0").expects_continue is False


@pytest.mark.parametrize(
    "value", ["", "100", "200-ok", "100-continue, x", "100-continued", "x=100-continue", "100-continue;q=1"]
)
def test_any_other_expectation_fails(value):
    assert refused(f"Expect: {value}") == "expectation_failed"


def test_a_second_other_expectation_fails():
    assert refused("Expect: 100-continue", "Expect: x") == "expectation_failed"


def test_an_expect_of_http_10_is_ignored():
    fields = ["Expect: 100-continue", "Content-Length: 3"]
    parsed = block(*fields, line="POST / HTTP/1.0")
    assert parsed.expects_continue is False
    assert ("Expect", "100-continue") not in forwarded(*fields, line="POST / HTTP/1.0")


# Upgrade

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
WEBSOCKET = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY]


@pytest.mark.parametrize("body", ["Content-Length: 1", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("protocol", ["websocket", "h2c", "foo/2"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upgrade_with_a_body_is_refused(body, protocol, method):
    assert refused("Connection: Upgrade", f"Upgrade: {protocol}", body, line=f"{method} / HTTP/1.1") == "bad_upgrade"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"]),
        ("GET", ["Connection: upgrade", "Upgrade: foo/2"]),
        ("GET", WEBSOCKET[1:]),  # without Connection: no upgrade
        ("GET", ["Connection: Upgrade", "Upgrade: websocket, h2c", *WEBSOCKET[2:]]),
        ("GET", ["Connection: Upgrade"]),
        ("POST", ["Connection: Upgrade", "Upgrade: h2c"]),
        ("POST", WEBSOCKET),
        ("HEAD", WEBSOCKET),
    ],
)
def test_an_upgrade_that_is_no_websocket_get_and_has_no_body_is_stripped(method, fields):
    kept = dict(forwarded(*fields, "Kept: 1", line=f"{method} / HTTP/1.1"))
    assert kept["Kept"] == "1"
    assert not {"Upgrade", "Connection", "HTTP2-Settings"} & set(kept)


def test_a_websocket_get_is_known():
    assert block(*WEBSOCKET).websocket is True
    assert block(*[field.upper() for field in WEBSOCKET[:3]], KEY.replace("Key", "KEY")).websocket is True
    assert block("Connection: keep-alive, upgrade", *WEBSOCKET[1:]).websocket is True


def test_a_websocket_get_goes_on_with_an_upgrade_of_our_own():
    fields = ["connection: keep-alive,UPGRADE,X-Gone,Sec-WebSocket-Key,Sec-WebSocket-Version", "X-Gone: 1", "A: b"]
    toward = forwarded(*fields, *WEBSOCKET[1:], "Sec-WebSocket-Protocol: chat")
    assert toward == [
        ("A", "b"),
        ("Sec-WebSocket-Version", "13"),
        tuple(KEY.split(": ")),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
    ]


def test_a_websocket_head_is_never_remembered():
    heads = RequestHeads()
    for method in ("GET", "POST") * 5:
        assert heads.parse(head(*WEBSOCKET, line=f"{method} / HTTP/1.1"))[2].websocket is (method == "GET")
    assert len(heads.memo) == 0


@pytest.mark.parametrize("left_out", range(len(WEBSOCKET)))
def test_a_websocket_request_that_lacks_a_field_is_none(left_out):
    assert block(*WEBSOCKET[:left_out], *WEBSOCKET[left_out + 1 :]).websocket is False


@pytest.mark.parametrize("doubled", WEBSOCKET[1:])
def test_a_websocket_request_that_says_something_twice_is_none(doubled):
    assert block(*WEBSOCKET, doubled).websocket is False


@pytest.mark.parametrize(
    "instead",
    [
        *("Sec-WebSocket-Version: 12", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version: 013"),
        *("Sec-WebSocket-Key: a", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
        *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x"),
        *("Upgrade: websockets", "Upgrade: websocket/13", "Upgrade: h2c, websocket", "Connection: upgrades"),
    ],
)
def test_a_websocket_request_with_a_field_that_rfc_6455_does_not_know_is_none(instead):
    name = instead.partition(":")[0]
    fields = [instead if field.startswith(name + ":") else field for field in WEBSOCKET]
    assert block(*fields).websocket is False


def test_http_10_cannot_ask_for_websocket():
    assert block(*WEBSOCKET, line="GET / HTTP/1.0").websocket is False


# limits and syntax


def test_up_to_100_fields_are_taken():
    assert len(forwarded(*(f"X-{n}: {n}" for n in range(99)))) == 99


@pytest.mark.parametrize("count", [100, 101, 500])
def test_more_than_100_fields_are_too_many(count):
    assert refused(*(f"X-{n}: {n}" for n in range(count))) == "head_too_large"


@pytest.mark.parametrize(
    "code", sorted({*range(256)} - {ord(each) for each in "!#$%&'*+-.^_`|~:\r\n"} - {*b"0123456789"})
)
def test_a_field_name_is_a_token(code):
    raw = b"X" + bytes([code]) + b"Y: 1"
    if chr(code).isascii() and chr(code).isalpha():
        assert parse(raw)
    else:
        assert refused(raw) in {"bad_field", "bad_framing"}


@pytest.mark.parametrize("code", [*range(0x09), 0x0A, 0x0B, 0x0C, 0x0D, *range(0x0E, 0x20), 0x7F])
def test_control_bytes_in_a_value_are_refused(code):
    assert refused(b"X: a" + bytes([code]) + b"b") == "bad_field"


@pytest.mark.parametrize(
    "field",
    [
        *(
            "X : 1",
            "X\t: 1",
            ": 1",
            "X",
            " X: 1",
            "\tX: 1",
            "X: 1\r\n folded",
            "X: 1\r\n\tfolded",
            "X: 1\nY: 2",
            "X: 1\r",
        ),
        *("X: 1\r\r", "Content-Length : 1", "Transfer-Encoding : chunked", "Host : b", "\ufeffX: 1".encode()),
    ],
)
def test_a_malformed_field_line_is_refused(field):
    assert refused(field) in {"bad_field", "bad_framing"}


def test_a_fold_before_the_first_field_is_refused():
    assert refused(line="GET / HTTP/1.1\r\n X: 1") == "bad_field"


def test_the_head_is_read_as_one_whatever_llhttp_thinks_of_its_method():
    # A method that llhttp does not know, or reads specially, must not change what the fields mean.
    for method in ("FOO", "CONNECT", "PRI", "HEAD", "SOURCE"):
        parsed = block("Content-Length: 3", "Connection: Upgrade", line=f"{method} / HTTP/1.1")
        assert parsed.framing == Framing(length=3)


def test_a_block_says_what_it_is():
    assert "a.test" in repr(block())
    assert head() == b"GET / HTTP/1.1\r\nHost: a.test\r\n"
