"""How a head is gathered: as the wire does it, on whatever pieces come."""

import pytest

from aegis.http1 import head_buffer
from aegis.http1.request_head import RequestHeads
from aegis.reasons import Refused

HEAD = b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-Long: value\r\n"
LIMIT = 8192


def gathered(*pieces, limit=LIMIT):
    """(the head without its empty line, what came behind it); None while it is incomplete."""
    data = b""
    for piece in pieces:
        data += piece
        head = head_buffer.strip_empty_line(data)
        end = head_buffer.find_end(head, limit)
        if end:
            return head[:end], head[end + 2 :]
    return None


def verdict(*pieces, limit=LIMIT):
    """The reason of the refusal; "head" for one that is read, "more" for one that is incomplete."""
    try:
        found = gathered(*pieces, limit=limit)
        if found is None:
            return "more"
        RequestHeads().parse(found[0])
    except Refused as refusal:
        return refusal.reason.value
    return "head"


def one_by_one(data):
    return [data[place : place + 1] for place in range(len(data))]


def of_size(size):
    """A whole head whose request line and fields are `size` bytes."""
    start = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: "
    return start + b"v" * (size - len(start) - 2) + b"\r\n\r\n"


def test_a_head_ends_before_its_empty_line_and_the_rest_is_left():
    assert gathered(HEAD + b"\r\nbody\r\n\r\n") == (HEAD, b"body\r\n\r\n")


def test_a_head_that_comes_byte_by_byte_is_the_same_as_a_whole_one():
    assert gathered(*one_by_one(HEAD + b"\r\n")) == (HEAD, b"")


def test_no_proper_prefix_of_a_sound_head_is_refused():
    for length in range(len(HEAD + b"\r\n")):
        assert verdict(HEAD[:length]) == "more"


def test_request_line_and_fields_may_fill_the_limit_exactly():
    for limit in (64, 100, 8192):
        assert verdict(of_size(limit), limit=limit) == "head"
        assert verdict(*one_by_one(of_size(limit)), limit=limit) == "head"


def test_one_byte_over_the_limit_is_refused():
    for limit in (64, 100, 8192):
        assert verdict(of_size(limit + 1), limit=limit) == "head_too_large"
        assert verdict(*one_by_one(of_size(limit + 1)), limit=limit) == "head_too_large"


@pytest.mark.parametrize("version", [b"\x01", b"\x03"])
def test_tls_on_this_port_is_called_by_its_name(version):
    hello = b"\x16\x03" + version + b"\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(1, 255))
    with pytest.raises(Refused, match="looks like TLS") as caught:
        gathered(hello)
    assert caught.value.reason == "bad_request_line"


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n", b" HTTP/1.1\r\nHost: a.test\r\n\r\n"])
def test_a_request_line_over_the_limit_is_too_long(end):
    assert verdict(b"GET /" + b"a" * LIMIT + end) == "target_too_long"
    assert verdict(b"GET /" + b"a" * LIMIT, end) == "target_too_long"


def test_a_head_that_never_ends_is_refused_at_the_limit_not_behind_it():
    endless = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"v" * LIMIT
    for length in range(LIMIT - 2, LIMIT + 2):
        assert verdict(endless[:length]) == "more"
    assert verdict(endless[: LIMIT + 2]) == "head_too_large"
    assert verdict(b"A" * (LIMIT + 2)) == "target_too_long"


def test_one_empty_line_before_the_request_line_is_left_out():
    assert gathered(b"\r\n" + HEAD + b"\r\n") == (HEAD, b"")
    assert gathered(b"\r\n", HEAD, b"\r\n") == (HEAD, b"")


@pytest.mark.parametrize(
    "start", [b"\r\n\r\n", b"\r\n\r\n\r\n", b"\n", b"\r", b"\n\n", b"\r\r\n", b" \r\n", b"\r\n\n", b"\r\n\r", b"\r\n "]
)
def test_more_than_one_empty_line_or_half_a_one_is_refused(start):
    assert verdict(start + HEAD + b"\r\n") == "bad_request_line"
    assert verdict(*one_by_one(start + HEAD + b"\r\n")) == "bad_request_line"


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"GET /\r\n", "bad_request_line"),  # HTTP/0.9, which would wait for fields for ever
        (b"GET / HTTP/1.1\n", "bad_request_line"),
        (b"GET / HTTP/1.1\nHost: a.test\n\n", "bad_request_line"),
        (b"GET / HTTP/2.0\r\n", "bad_request_line"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request_line"),
        (b"G@T / HTTP/1.1\r\n", "bad_request_line"),
        (b"\x16\x03\x01\x02\x00\x01", "bad_request_line"),  # TLS
        (b"GET / HTTP/1.1\r\nHost: a.test\n", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost: a.test\n\r\n", "bad_field"),
    ],
)
def test_what_more_bytes_cannot_mend_is_refused_at_once(start, reason):
    assert verdict(start) == reason
    assert verdict(*one_by_one(start)) == reason


FAULTY = [
    b"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.test\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\n\r\n\r\n",
]


@pytest.mark.parametrize("raw", FAULTY)
def test_a_faulty_head_gets_the_same_answer_in_one_piece_and_byte_by_byte(raw):
    whole = verdict(raw)
    assert whole not in {"more", "head"}
    assert verdict(*one_by_one(raw)) == whole
    for cut in range(len(raw)):
        assert verdict(raw[:cut], raw[cut:]) == whole
