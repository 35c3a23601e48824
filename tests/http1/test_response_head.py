import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.http1.framing import Framing
from aegis.http1.response_head import Head, ResponseHeadError, ResponseHeads, parse
from tests.http1.heads import pairs
from tests.support.contract import SECURITY_FIELDS

OURS = list(SECURITY_FIELDS.items())


def raw(*fields, line="HTTP/1.1 200 OK"):
    return b"".join((each if isinstance(each, bytes) else each.encode("latin-1")) + b"\r\n" for each in (line, *fields))


def head(*fields, **parts):
    return ResponseHeads().parse(raw(*fields, **parts))


def kept(parsed):
    """What is left of the backend's fields; the security fields must follow them, each once and exact."""
    fields = list(parsed)
    assert fields[-len(OURS) :] == OURS
    theirs = fields[: -len(OURS)]
    assert not {name.lower() for name, _ in theirs} & {"x-powered-by", *(name.lower() for name, _ in OURS)}
    assert wire_fields(parsed)[1] == fields  # what is sent says the same as what the layers see
    return theirs


def wire_fields(parsed):
    line, _, rest = parsed.wire.partition(b"\r\n")
    return line, pairs(rest)


def refused(*fields, **parts):
    with pytest.raises(ResponseHeadError):
        head(*fields, **parts)
    return True


# the status line


@pytest.mark.parametrize("status", [100, 103, 199, 200, 204, 206, 226, 299, 301, 304, 404, 418, 451, 499, 500, 599])
def test_statuses_from_100_to_599_are_taken(status):
    parsed = head(line=f"HTTP/1.1 {status} Whatever")
    assert parsed.status == status
    assert parsed.status_text.startswith(f"{status} ")


@pytest.mark.parametrize(
    "line",
    [
        *(
            f"HTTP/1.1 {status} X"
            for status in ("000", "099", "600", "700", "999", "20", "2000", "2", "", "2x0", "-20")
        ),
        *(f"HTTP/1.1 {status} X" for status in ("+20", " 200", "0200", "\xb2\xb2\xb2", "200.", "0x1", "1_0")),
        *(f"{version} 200 OK" for version in ("HTTP/1.2", "HTTP/2.0", "HTTP/2", "HTTP/0.9", "http/1.1", "RTSP/1.0")),
        *(f"{version} 200 OK" for version in ("ICY", "HTTP/1.10", "HTTP/11", "HTTPS/1.1", "", " HTTP/1.1", "SIP/2.0")),
        *(
            "",
            "200 OK",
            "HTTP/1.1",
            "HTTP/1.1 ",
            "HTTP/1.1  200 OK",
            "HTTP/1.1\t200 OK",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1200",
        ),
        *(
            "HTTP/1.1 200OK",
            "<html>",
            "GET / HTTP/1.1",
            "HTTP/1.1 200 O\0K",
            "HTTP/1.1 200 O\rK",
            "HTTP/1.1 200 O\nX: K",
        ),
    ],
)
def test_any_other_status_line_is_malformed(line):
    assert refused(line=line)


@pytest.mark.parametrize("line", ["HTTP/1.1 404 Nobody Home", "HTTP/1.1 404 ", "HTTP/1.1 404", "HTTP/1.0 404 \xe9\x80"])
def test_the_reason_phrase_toward_the_client_is_ours(line):
    parsed = head(line=line)
    assert parsed.status_text == "404 Not Found"
    assert parsed.wire.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_status_that_nobody_knows_gets_some_phrase():
    parsed = head(line="HTTP/1.1 599 X")
    assert parsed.status_text[:4] == "599 "
    assert len(parsed.status_text) > 4


# the fields


def test_fields_keep_order_multiplicity_and_spelling():
    fields = ["Set-Cookie: a=1", "X-b: 2", "set-cookie: b=2", 'ETag: W/"x"', "Set-Cookie: a=1", "Location: //x/../y"]
    wanted = [tuple(each.split(": ")) for each in fields]
    assert list(head(*fields)) == [*wanted, *OURS]
    assert wire_fields(head(*fields)) == (b"HTTP/1.1 200 OK", [*wanted, *OURS])


def test_the_wire_form_says_the_same_as_the_fields():
    parsed = head("A: 1", "Server: x", "B:", "C: \t c \t")
    assert wire_fields(parsed)[1] == list(parsed) == [("A", "1"), ("B", ""), ("C", "c"), *OURS]


def test_a_head_without_fields_has_ours():
    assert list(head()) == OURS


def test_a_head_can_be_iterated_again():
    parsed = head("A: 1")
    assert list(parsed) == list(parsed)


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer"),
        *("Trailers", "Upgrade", "X-Request-ID"),
    ],
)
def test_hop_by_hop_fields_and_the_backends_request_id_are_dropped(name):
    for spelling in (name, name.lower(), name.upper()):
        assert kept(head(f"{spelling}: x", "Kept: 1")) == [("Kept", "1")]


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: Upgrade", "Upgrade: websocket"],
        ["upgrade: WebSocket", "connection: keep-alive, UPGRADE"],
        ["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 5"],  # RFC 9110 §8.6: not in a 1xx
    ],
)
def test_a_switch_to_websocket_says_so_in_our_own_words(fields):
    parsed = head(*fields, "Sec-WebSocket-Accept: x", line="HTTP/1.1 101 Whatever")
    assert parsed.status == 101
    assert list(parsed) == [("Sec-WebSocket-Accept", "x"), *OURS, ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    assert parsed.length is None
    assert not parsed.reusable


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["Connection: Upgrade"],
        ["Upgrade: websocket"],
        ["Connection: close", "Upgrade: websocket"],
        ["Connection: Upgrade", "Upgrade: h2c"],
        ["Connection: Upgrade", "Upgrade: websocket, h2c"],
        ["Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket"],
        ["Connection: Upgrade", "Upgrade: websocket/13"],
        ["Connection: Upgrade", "Upgrade:"],
    ],
)
def test_a_101_that_does_not_switch_to_websocket_is_malformed(fields):
    assert refused(*fields, line="HTTP/1.1 101 Switching Protocols")


def test_http_10_cannot_switch():
    assert refused("Connection: Upgrade", "Upgrade: websocket", line="HTTP/1.0 101 Switching Protocols")


@pytest.mark.parametrize("status", [100, 103, 204])
def test_a_length_where_none_may_be_is_dropped(status):
    assert kept(head("Content-Length: 5", line=f"HTTP/1.1 {status} X")) == []


def test_the_coding_is_dropped_and_remembered():
    parsed = head("Transfer-Encoding: chunked", "Kept: 1")
    assert kept(parsed) == [("Kept", "1")]
    assert b"ransfer" not in parsed.wire
    assert parsed.framing == Framing(chunked=True)


@pytest.mark.parametrize("connection", [["X-Gone"], ["close, x-gone"], ["keep-alive", "X-GONE ,"], [",,x-gone"]])
def test_whatever_connection_names_is_dropped(connection):
    parsed = head("X-Gone: 1", *(f"Connection: {value}" for value in connection), "Kept: 1", "x-gone: 2")
    assert kept(parsed) == [("Kept", "1")]
    assert b"gone" not in parsed.wire.lower()


def test_connection_cannot_drop_the_length():
    parsed = head("Connection: content-length", "Content-Length: 5")
    assert kept(parsed) == [("Content-Length", "5")]
    assert parsed.framing == Framing(length=5)


@pytest.mark.parametrize("name", list(SECURITY_FIELDS))
def test_ours_stand_in_place_of_the_backends(name):
    parsed = head("A: 1", f"{name}: theirs", f"{name.lower()}: theirs too", f"{name.upper()}: and three", "B: 2")
    assert kept(parsed) == [("A", "1"), ("B", "2")]
    assert b"theirs" not in parsed.wire
    assert b"three" not in parsed.wire


@pytest.mark.parametrize("line", ["HTTP/1.1 103 Early Hints", "HTTP/1.1 204 X", "HTTP/1.1 304 X", "HTTP/1.0 599 X"])
def test_every_head_of_whatever_status_is_secured(line):
    parsed = head("A: 1", "Server: theirs", line=line)
    assert kept(parsed) == [("A", "1")]


def test_x_powered_by_is_removed():
    parsed = head("X-Powered-By: PHP", "x-powered-by: Express", "A: 1")
    assert kept(parsed) == [("A", "1")]
    assert b"powered" not in parsed.wire.lower()


def test_connection_cannot_drop_a_security_field():
    names = ", ".join(SECURITY_FIELDS).lower()
    assert kept(head(f"Connection: {names}, close", "A: 1")) == [("A", "1")]
    assert kept(head(f"Connection: {names}", "Server: theirs", "A: 1")) == [("A", "1")]


def test_obs_text_in_a_value_passes_unchanged():
    parsed = head(b"X: \x80\xff\xe9")
    assert kept(parsed) == [("X", "\x80\xff\xe9")]
    assert b"X: \x80\xff\xe9\r\n" in parsed.wire


@pytest.mark.parametrize(
    "field",
    [
        *(
            "X : 1",
            "X\t: 1",
            ": 1",
            "X",
            " X: 1",
            "X: 1\r\n folded",
            "X: 1\nY: 2",
            "X: 1\rY",
            "X: \0",
            "X: \x01",
            "X: \x7f",
        ),
        *("X(: 1", "X Y: 1", "\xe9: 1", "X: 1\r\n\tfolded"),
    ],
)
def test_a_malformed_field_is_refused(field):
    assert refused(field)


# framing


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], Framing()),
        (["Content-Length: 0"], Framing(length=0)),
        (["Content-Length: 5"], Framing(length=5)),
        (["content-length:  05 "], Framing(length=5)),
        (["Transfer-Encoding: chunked"], Framing(chunked=True)),
        (["transfer-encoding: CHUNKED"], Framing(chunked=True)),
    ],
)
def test_a_response_says_its_length_in_one_way(fields, framing):
    parsed = head(*fields)
    assert parsed.framing == framing
    assert parsed.length == framing.length


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 5"],
        ["Content-Length: +5"],
        ["Content-Length: -5"],
        ["Content-Length:"],
        ["Content-Length: 5x"],
        ["Content-Length: 99999999999999999999999999"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding:"],
    ],
)
def test_conflicting_or_malformed_lengths_are_malformed(fields):
    assert refused(*fields)
    assert refused(*fields, line="HTTP/1.1 404 Not Found")


def test_a_coding_on_http_10_is_malformed():
    assert refused("Transfer-Encoding: chunked", line="HTTP/1.0 200 OK")


def test_a_204_has_no_length():
    parsed = head("Content-Length: 5", "A: 1", line="HTTP/1.1 204 No Content")
    assert kept(parsed) == [("A", "1")]
    assert b"ength" not in parsed.wire
    assert parsed.length is None  # its body is over with its head


def test_a_304_keeps_the_length_that_a_200_would_have():
    parsed = head("Content-Length: 5", line="HTTP/1.1 304 Not Modified")
    assert kept(parsed) == [("Content-Length", "5")]
    assert parsed.length is None  # but there is no such body


@pytest.mark.parametrize(
    ("version", "connection", "reusable"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["keep-alive"], True),
        ("HTTP/1.1", ["close"], False),
        ("HTTP/1.1", ["x", "y, CLOSE"], False),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["Keep-Alive"], True),
        ("HTTP/1.0", ["keep-alive, close"], False),
    ],
)
def test_the_connection_lives_on_when_the_backend_says_so(version, connection, reusable):
    parsed = head(*(f"Connection: {value}" for value in connection), line=f"{version} 200 OK")
    assert parsed.reusable is reusable


def test_a_date_of_the_backend_is_seen():
    assert head("date: x").has_date is True
    assert head("Updated: x").has_date is False


@pytest.mark.parametrize(
    ("value", "event_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("text/plain", False),
        ("application/text/event-stream", False),
    ],
)
def test_an_event_stream_is_known_by_its_type(value, event_stream):
    assert head(f"Content-Type: {value}").event_stream is event_stream


# immutability

MUTATORS = {
    "append": lambda each: each.append(("X", "y")),
    "extend": lambda each: each.extend([("X", "y")]),
    "insert": lambda each: each.insert(0, ("X", "y")),
    "remove": lambda each: each.remove(("A", "1")),
    "pop": lambda each: each.pop(),
    "clear": lambda each: each.clear(),
    "sort": lambda each: each.sort(),
    "reverse": lambda each: each.reverse(),
    "item": lambda each: each.__setitem__(0, ("X", "y")),
    "slice": lambda each: each.__setitem__(slice(None), []),
    "del": lambda each: each.__delitem__(0),
    "iadd": lambda each: each.__iadd__([("X", "y")]),
    "imul": lambda each: each.__imul__(2),
}


@pytest.mark.parametrize("name", MUTATORS)
def test_every_mutator_of_a_shared_head_raises(name):
    shared = head("A: 1", "B: 2")
    before, wire = list(shared), shared.wire
    with pytest.raises((TypeError, AttributeError)):
        MUTATORS[name](shared)
    assert (list(shared), shared.wire) == (before, wire)


def test_a_head_offers_no_method_of_a_list_that_changes_it():
    changing = {name for name in dir(list) if name not in dir(tuple)} - {"copy", "__reversed__"}
    assert {"append", "__setitem__", "__iadd__"} <= changing
    assert not changing & set(dir(Head))


def test_nothing_can_be_hung_onto_a_head():
    shared = head("A: 1")
    assert not hasattr(shared, "__dict__")
    with pytest.raises(AttributeError):
        shared.note = 1


def test_the_fields_taken_out_of_a_head_are_free():
    shared = head("A: 1")
    free = list(shared)
    free.append(("X", "y"))
    assert list(shared) == [("A", "1"), *OURS]
    assert type(shared.wire) is bytes


# any bytes

parts = st.sampled_from(
    [
        *(
            b"HTTP/1.1 ",
            b"HTTP/1.0 ",
            b"200",
            b"204",
            b"101",
            b"304",
            b"600",
            b" OK",
            b" ",
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
        ),
        *(
            b":",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"X: y\r\n",
            b"\xff",
        ),
        *(b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n", b"\r\n\r\n", b"5\r\nhello\r\n", b"Date: x\r\n", b"X"),
    ]
)
sound_start = st.lists(parts, max_size=8).map(lambda each: b"HTTP/1.1 200 OK\r\n" + b"".join(each))


@given(st.lists(parts, max_size=12).map(b"".join) | sound_start | st.binary(max_size=60))
@settings(deadline=None, max_examples=600)
def test_any_bytes_are_a_head_or_malformed(data):
    data = data.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n"  # as it is cut out of what came
    try:
        parsed = parse(data)
    except ResponseHeadError:
        return
    assert 100 <= parsed.status <= 599
    assert b"\r\n\r\n" not in parsed.wire
    assert parsed.wire.endswith(b"\r\n")
    kept(parsed)
