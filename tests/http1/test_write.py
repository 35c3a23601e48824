from email.utils import parsedate_to_datetime

import pytest

from aegis.http1 import write
from aegis.http1.chunked import ChunkReader


def test_the_status_line_of_a_wsgi_status():
    assert write.status_line("404 Not Found") == b"HTTP/1.1 404 Not Found\r\n"


def test_field_lines_keep_order_and_bytes():
    assert write.fields([("B", "2"), ("A", "\xe9"), ("B", "")]) == b"B: 2\r\nA: \xe9\r\nB: \r\n"
    assert write.fields([]) == b""


@pytest.mark.parametrize(
    "pair",
    [
        *(("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\rb"), ("X\r\nY", "b"), ("X\n", "b"), ("X", "\r"), ("X", "b\r\n")),
    ],
)
def test_a_line_break_inside_a_field_is_refused(pair):
    for fields in ([pair], [("A", "1"), pair], [pair, ("A", "1")]):
        with pytest.raises(ValueError, match="line break"):
            write.fields(fields)


@pytest.mark.parametrize("data", [b"x", b"\r\n", b"0\r\n\r\n", b"d" * 70_000])
def test_a_chunk_is_read_back(data):
    reader = ChunkReader()
    raw = write.chunk(memoryview(data))
    pieces, stop = reader.feed(raw, 0, len(raw))
    assert b"".join(pieces) == data
    assert stop == len(raw)


def test_the_date_is_a_date_of_rfc_9110():
    line = write.date_line()
    assert line.startswith(b"Date: ")
    assert line.endswith(b" GMT\r\n")
    assert parsedate_to_datetime(line[6:-2].decode()).utcoffset().total_seconds() == 0
