"""Whatever comes, the parsers answer with a value or with the one error they may raise."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.http1 import head_buffer
from aegis.http1.request_head import RequestHeads
from aegis.reasons import ANSWERS, Refused
from tests.proxy.toward_backend import request_head

words = st.sampled_from(
    [
        *(
            b"GET",
            b"POST",
            b" ",
            b"/",
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b":",
            b",",
            b"\0",
            b"\xff",
        ),
        *(b"Host: a.test\r\n", b"Host: [::1]:80\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(
            b"Connection: close, x\r\n",
            b"Expect: 100-continue\r\n",
            b"Upgrade: websocket\r\n",
            b"http://a.test",
            b"*",
            b"#",
        ),
        *(b"Content-Length: ", b"9" * 25, b"X-Forwarded-For: 1\r\n", b"Cookie: a\r\n", b"\r\n\r\n", b"_", b"%00", b"?"),
    ]
)
nearly = st.lists(words, max_size=16).map(lambda each: b"GET / HTTP/1.1\r\nHost: a.test\r\n" + b"".join(each))
lines = st.lists(words, max_size=16).map(b"".join)
HEADS = RequestHeads()


@given(nearly | lines | st.binary(max_size=80))
@settings(deadline=None, max_examples=800)
def test_a_request_head_is_read_or_refused_with_a_reason_and_nothing_else(data):
    data = data.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n"  # as the wire cuts it out
    for heads in (HEADS, RequestHeads()):
        try:
            method, target, block = heads.parse(data)
        except Refused as refusal:
            answer = ANSWERS[refusal.reason]
        else:
            answer = None
            assert method.isascii()
            assert target[:1] in {b"/", b"*"} or method == "CONNECT"
            request_head(data, heads)  # in which no empty line may stand before its end
            assert block.host_name == block.host_name.lower()
        assert answer is None or 400 <= answer.status < 500


@given(lines | nearly, st.integers(0, 200), st.sampled_from([16, 64, 8192]))
@settings(deadline=None, max_examples=400)
def test_a_buffer_is_complete_incomplete_or_refused_and_more_bytes_cannot_unsay_it(data, place, limit):
    def verdict(buffer):
        try:
            head = head_buffer.strip_empty_line(buffer)
            end = head_buffer.find_end(head, limit)
        except Refused:
            return "refused"
        return head[:end] if end else "more"

    start, whole = verdict(data[:place]), verdict(data)
    if start == "refused":
        try:
            head = head_buffer.strip_empty_line(data)
            end = head_buffer.find_end(head, limit)
            if end:
                RequestHeads().parse(head[:end])
                raise AssertionError(f"{data[:place]!r} is refused, {data!r} is not")
        except Refused:
            pass
    elif start != "more":
        assert whole == start
