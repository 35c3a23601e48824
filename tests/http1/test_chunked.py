import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.http1 import write
from aegis.http1.chunked import FORBIDDEN_TRAILERS, FREE_OVERHEAD, ChunkError, ChunkReader

END = b"0\r\n\r\n"
BEHIND = b"GET /next HTTP/1.1\r\n\r\n"


def read(*feeds):
    """(data, bytes used of the last feed, reader)"""
    reader, data, stop = ChunkReader(), b"", 0
    for feed in feeds:
        pieces, stop = reader.feed(feed, 0, len(feed))
        data += b"".join(pieces)
        if not reader.done:
            assert stop == len(feed)  # nothing is left over but behind the end
    return data, stop, reader


def bytewise(raw):
    """(data, bytes used) of a body that comes byte by byte."""
    reader, data = ChunkReader(), b""
    for place in range(len(raw)):
        if reader.done:
            return data, place
        pieces, _ = reader.feed(raw, place, place + 1)
        data += b"".join(pieces)
    return data, len(raw)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (END, b""),
        (b"5\r\nhello\r\n" + END, b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n" + END, b"hello world"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + END, b"0123456789" * 2),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"5;a=b\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b'5 ; a="b;c"\r\nhello\r\n' + END, b"hello"),
        (b"5;\r\nhello\r\n" + END, b"hello"),
        (b"5;\x80\xff\r\nhello\r\n" + END, b"hello"),
        (b"2\r\n\r\n\r\n" + END, b"\r\n"),
        (b"5\r\n0\r\n\r\n\r\n" + END, b"0\r\n\r\n"),
        (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other:\r\nETag: w\r\n\r\n", b"hello"),
    ],
)
def test_a_sound_body_is_read_whole_and_byte_by_byte_and_ends_exactly(raw, data):
    for behind in (b"", BEHIND, b"\r\n", b"0\r\n\r\n", b"\0"):
        got, stop, reader = read(raw + behind)
        assert (got, stop, reader.done, reader.total) == (data, len(raw), True, len(data))
        assert bytewise(raw + behind) == (data, len(raw))


FAULTS = [
    # sizes
    *(
        size + b"\r\nhello\r\n" + END
        for size in (b"", b"x", b"+5", b"-5", b"0x5", b"5 ", b" 5", b"\t5", b"5\t", b"5_0")
    ),
    *(
        size + b"\r\nhello\r\n" + END
        for size in (b"5,5", b"5.0", b'"5"', b"5g", b"\xb5", b"5\0", b"\x005", b"5\x0b", b"h5")
    ),
    b"ffffffffffffffff\r\nhello\r\n" + END,
    b"10000000000000005\r\nhello\r\n" + END,
    b"fffffffffffffffffffffff\r\n",
    b"f" * 40 + b"\r\n",
    # line ends
    b"5\nhello\r\n" + END,
    b"5\rhello\r\n" + END,
    b"5\r\r\nhello\r\n" + END,
    b"5\n\r\nhello\r\n" + END,
    b"5\r\nhello\n" + END,
    b"5\r\nhello\r" + END,
    b"5\r\nhello" + END,
    b"5\r\nhello!\r\n" + END,
    b"5\r\nhell\r\n" + END,
    b"5\r\nhello\r\r\n" + END,
    b"5\r\nhello\r\n\r\n" + END,
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\r\n\r\r\n\r\n",
    # extensions
    b"5;a\nb\r\nhello\r\n" + END,
    b"5;a\rb\r\nhello\r\n" + END,
    b"5;\0\r\nhello\r\n" + END,
    b"5;\x7f\r\nhello\r\n" + END,
    b"5;\x01\r\nhello\r\n" + END,
    b"5 a\r\nhello\r\n" + END,
    b"5\x0b;a\r\nhello\r\n" + END,
    # trailers
    b"0\r\nX\r\n\r\n",
    b"0\r\n: x\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"0\r\nX: \0\r\n\r\n",
    b"0\r\nX: y\rz\r\n\r\n",
    b"0\r\nX: y\nZ: y\r\n\r\n",
    b"0\r\nX(: y\r\n\r\n",
    b"0\r\nX: y\n\n",
    b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    b"0\r\nX: " + b"y" * 20_000,
    b"0;" + b"y" * 20_000,
]


@pytest.mark.parametrize("raw", FAULTS)
def test_a_fault_is_found_in_one_piece_and_byte_by_byte(raw):
    with pytest.raises(ChunkError):
        read(raw + BEHIND)
    with pytest.raises(ChunkError):
        bytewise(raw + BEHIND)


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *("Transfer-Encoding", "Content-Length", "Host", "Connection", "Upgrade", "TE", "Trailer", "Expect"),
            *("Authorization", "Cookie", "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Range"),
            *("X-Forwarded-For", "Forwarded"),
        }
    ),
)
def test_what_routes_frames_or_authorises_a_message_is_forbidden_as_a_trailer(name):
    for spelling in (name, name.lower(), name.upper()):
        for section in (f"{spelling}: 1\r\n", f"X-Fine: 1\r\n{spelling}: 1\r\n", f"{spelling}: 1\r\nX-Fine: 1\r\n"):
            with pytest.raises(ChunkError):
                read(b"0\r\n" + section.encode() + b"\r\n")


def test_the_forbidden_trailers_are_written_as_they_are_compared():
    assert all(name == name.lower() for name in FORBIDDEN_TRAILERS)


def test_the_size_of_a_chunk_is_known_before_its_data():
    _, _, reader = read(b"5\r\nhello\r\nfffffff\r\n")
    assert reader.total == 5 + 0xFFFFFFF
    assert not reader.done


def test_pieces_are_views_and_nothing_is_copied():
    raw = bytearray(b"5\r\nhello\r\n" + END)
    pieces, _ = ChunkReader().feed(raw, 0, len(raw))
    raw[3:8] = b"HELLO"
    assert [bytes(piece) for piece in pieces] == [b"HELLO"]


def test_only_the_given_part_of_a_buffer_is_read():
    raw = b"junk5\r\nhello\r\n0\r\n\r\njunk"
    pieces, stop = ChunkReader().feed(raw, 4, len(raw))
    assert (b"".join(pieces), stop) == (b"hello", len(raw) - 4)
    reader = ChunkReader()
    pieces, stop = reader.feed(raw, 4, 9)
    assert (b"".join(pieces), stop, reader.done) == (b"he", 9, False)


def test_a_finished_reader_takes_no_more():
    _, _, reader = read(END)
    assert reader.feed(BEHIND, 0, len(BEHIND)) == ([], 0)


# [SECURITY] ChunkOverhead


def extended(size, overhead, count):
    """`count` chunks of `size` bytes, each with `overhead` bytes of extension."""
    return [b"%x;%b\r\n%b\r\n" % (size, b"e" * (overhead - 1), b"d" * size) for _ in range(count)]


def test_16_kib_of_extensions_are_free():
    for overhead in (1, 100, 8000):
        count = FREE_OVERHEAD // overhead
        data, _, reader = read(*extended(1, overhead, count), END)
        assert (data, reader.done) == (b"d" * count, True)


def test_more_than_16_kib_and_an_eighth_of_the_data_is_refused():
    for overhead in (2, 100, 8000):
        with pytest.raises(ChunkError):
            read(*extended(1, overhead, FREE_OVERHEAD // overhead + FREE_OVERHEAD // overhead // 8 + 100))


def test_an_eighth_of_the_data_is_free_however_long_the_body():
    data, _, _ = read(*extended(1000, 125, 2000), END)
    assert len(data) == 2_000_000
    with pytest.raises(ChunkError):
        read(*extended(1000, 150, 2000))


def test_leading_zeros_count_as_overhead():
    sizes = [b"0" * 1000 + b"1\r\nd\r\n" for _ in range(40)]
    with pytest.raises(ChunkError):
        read(*sizes)
    assert read(*sizes[:10], END)[0] == b"d" * 10


def test_trailers_count_as_overhead():
    spent = extended(1, 8000, 2)
    with pytest.raises(ChunkError):
        read(*spent, b"0\r\nX: " + b"y" * 4000 + b"\r\n\r\n")
    assert read(b"1\r\nd\r\n", b"0\r\nX: " + b"y" * 4000 + b"\r\n\r\n")[2].done


def test_many_small_chunks_without_extensions_are_no_overhead():
    assert read(*[b"1\r\nd\r\n"] * 50_000, END)[0] == b"d" * 50_000


# properties

chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


def cut(raw, places):
    edges = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in itertools.pairwise(edges)]


@given(chunks, st.lists(st.integers(0, 10_000), max_size=30), st.binary(max_size=20))
@settings(deadline=None, max_examples=300)
def test_what_was_written_is_read_under_any_split_and_the_end_is_exact(datas, places, behind):
    raw = b"".join(map(write.chunk, datas)) + END
    reader, data, used = ChunkReader(), b"", 0
    for piece in cut(raw + behind, places):
        if reader.done:
            break
        pieces, stop = reader.feed(piece, 0, len(piece))
        data += b"".join(pieces)
        used += stop
    assert reader.done
    assert data == b"".join(datas)
    assert used == len(raw)


pieces_of_framing = st.sampled_from(
    [
        b"0",
        b"1",
        b"5",
        b"a",
        b"F",
        b"\r\n",
        b"\r",
        b"\n",
        b";",
        b"x",
        b"=",
        b" ",
        b"\t",
        b"hello",
        b"X: y",
        b":",
        b"\0",
        b"\xff",
    ]
)


@given(st.lists(pieces_of_framing, max_size=25).map(b"".join) | st.binary(max_size=30))
@settings(deadline=None, max_examples=500)
def test_any_bytes_get_the_same_verdict_in_one_piece_and_byte_by_byte(raw):
    def verdict(feed):
        try:
            return feed(raw)[:2]
        except ChunkError:
            return "refused"

    assert verdict(read) == verdict(bytewise)
