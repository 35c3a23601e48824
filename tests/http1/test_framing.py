import pytest

from aegis.http1.framing import Framing, FramingError, decide
from tests.http1.heads import block, refused

NONE = Framing()
CHUNKED = Framing(chunked=True)


@pytest.mark.parametrize(
    ("lengths", "codings", "http11", "framing"),
    [
        ([], [], True, NONE),
        ([], [], False, NONE),
        ([b"0"], [], True, Framing(length=0)),
        ([b"7"], [], True, Framing(length=7)),
        ([b"7"], [], False, Framing(length=7)),
        ([b"007"], [], True, Framing(length=7)),
        ([b" 7\t"], [], True, Framing(length=7)),
        ([b"10485761"], [], True, Framing(length=10_485_761)),
        ([], [b"chunked"], True, CHUNKED),
        ([], [b"CHUNKED"], True, CHUNKED),
        ([], [b" chunked "], True, CHUNKED),
    ],
)
def test_the_one_way_in_which_a_length_is_said(lengths, codings, http11, framing):
    assert decide(lengths, codings, http11=http11) == framing


@pytest.mark.parametrize(
    ("lengths", "codings", "http11"),
    [
        # Content-Length beside Transfer-Encoding, whatever either says
        ([b"7"], [b"chunked"], True),
        ([b"0"], [b"chunked"], True),
        ([b"7"], [b"identity"], True),
        ([b"x"], [b"chunked"], True),
        # several lengths, equal ones too
        ([b"7", b"7"], [], True),
        ([b"7", b"8"], [], True),
        ([b"7, 7"], [], True),
        ([b"7,8"], [], True),
        ([b"7", b""], [], True),
        # what is no decimal number
        *(
            ([value], [], True)
            for value in (
                *(b"", b" ", b"+7", b"-7", b"-0", b"1_0", b"0x7", b"7.0", b"7e1", b'"7"', b"7 7", b"7;", b"7,", b",7"),
                *(b"\xb2", b"\xd9\xa7", b"\xa07", b"7\x0b", b"seven", b"7" * 40),
            )
        ),
        # any coding but exactly one chunked
        *(
            ([], values, True)
            for values in (
                *(
                    [b"gzip"],
                    [b"identity"],
                    [b"gzip, chunked"],
                    [b"chunked, gzip"],
                    [b"chunked, chunked"],
                    [b"chunked,"],
                ),
                *([b",chunked"], [b"chunked", b"chunked"], [b"identity", b"chunked"], [b"chunked", b""], [b""]),
                *([b"xchunked"], [b"chunkedx"], [b'"chunked"'], [b"chunked;q=1"], [b"\x0bchunked"], [b"chun ked"]),
                *([b"\xe2\x84\xaahunked"], [b"chunked\x00"]),
            )
        ),
        # a coding on HTTP/1.0
        ([], [b"chunked"], False),
    ],
)
def test_whatever_two_parsers_could_read_differently_is_refused(lengths, codings, http11):
    with pytest.raises(FramingError):
        decide(lengths, codings, http11=http11)


@pytest.mark.parametrize(
    ("framing", "has_body"), [(NONE, False), (Framing(length=0), False), (Framing(length=1), True), (CHUNKED, True)]
)
def test_a_body_is_to_come_only_where_bytes_are(framing, has_body):
    assert framing.has_body is has_body


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 3"],
        ["Transfer-Encoding: chunked", "X-Between: 1", "content-length: 0"],
        ["Content-Length: 3", "Content-Length: 3"],
        ["Content-Length: 3", "content-length: 4"],
        ["Content-Length: +3"],
        ["Content-Length: 3, 3"],
        ["Content-Length:"],
        ["Content-Length: 99999999999999999999999"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding:"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "FOO"])
def test_a_head_with_doubtful_framing_is_refused_whatever_its_method(fields, method):
    assert refused(*fields, line=f"{method} / HTTP/1.1") == "bad_framing"


def test_a_transfer_encoding_on_http_10_is_refused():
    assert refused("Transfer-Encoding: chunked", line="POST / HTTP/1.0") == "bad_framing"


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "OPTIONS"])
def test_the_framing_is_decided_by_the_fields_not_by_the_method(method):
    line = f"{method} / HTTP/1.1"
    assert block(line=line).framing == NONE
    assert block("Content-Length: 3", line=line).framing == Framing(length=3)
    assert block("Transfer-Encoding: Chunked", line=line).framing == CHUNKED


def test_a_name_with_an_underscore_frames_nothing():
    assert block("Content_Length: 3", "Transfer_Encoding: chunked").framing == NONE
