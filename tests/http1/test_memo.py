import random

import pytest

from aegis.http1.memo import DOORS, GENERATION, LARGEST, Memo
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import NAMES_KEPT, Head, ResponseHeadError, ResponseHeads, _kinds
from aegis.reasons import Refused
from tests.http1.heads import head
from tests.proxy.toward_backend import request_head
from tests.support.contract import SECURITY_FIELDS


def keep(memo, key, value):
    """Offer twice: the second sighting is let in."""
    memo.offer(key, value)
    memo.offer(key, value)


def test_a_head_is_kept_on_its_second_sighting_only():
    memo = Memo()
    memo.offer(b"a", 1)
    assert memo.get(b"a") is None
    assert len(memo) == 0
    memo.offer(b"a", 1)
    assert memo.get(b"a") == 1


def test_what_was_used_since_the_last_rotation_survives_the_next():
    memo = Memo()
    keep(memo, b"used", 1)
    keep(memo, b"unused", 2)
    memo.rotate()
    assert memo.get(b"used") == 1
    memo.rotate()
    assert memo.get(b"used") == 1
    assert memo.get(b"unused") is None


def test_two_rotations_forget_what_nobody_uses():
    memo = Memo()
    keep(memo, b"a", 1)
    memo.rotate()
    memo.rotate()
    assert memo.get(b"a") is None
    assert len(memo) == 0


def test_a_full_generation_makes_room_by_forgetting_the_one_before():
    memo = Memo()
    for number in range(5 * GENERATION):
        keep(memo, b"%d" % number, number)
        assert len(memo) <= 2 * GENERATION
    assert memo.get(b"%d" % (5 * GENERATION - 1)) == 5 * GENERATION - 1
    assert memo.get(b"0") is None


def test_what_is_used_all_the_time_survives_a_stream_of_others():
    memo = Memo()
    keep(memo, b"hot", "hot")
    for number in range(5 * GENERATION):
        keep(memo, b"%d" % number, number)
        assert memo.get(b"hot") == "hot"


def test_heads_that_never_repeat_are_not_kept():
    memo = Memo()
    keep(memo, b"hot", "hot")
    for number in range(3 * DOORS):
        memo.offer(b"GET /%d" % number, number)
    assert len(memo) <= 1 + 3  # one per doubtful coincidence of marks at most
    assert memo.get(b"hot") == "hot"


def test_a_head_too_large_to_be_worth_it_is_not_kept():
    memo = Memo()
    keep(memo, b"a" * (LARGEST + 1), 1)
    keep(memo, b"a" * LARGEST, 2)
    assert memo.get(b"a" * (LARGEST + 1)) is None
    assert memo.get(b"a" * LARGEST) == 2


def test_a_memo_says_how_full_it_is():
    memo = Memo()
    keep(memo, b"a", 1)
    memo.rotate()
    assert "0 new" in repr(memo)
    assert "1 old" in repr(memo)


def test_a_flood_of_request_heads_that_never_repeat_stays_bounded():
    heads = RequestHeads()
    for number in range(6000):
        heads.parse(head(f"Cookie: session={number}"))
    assert len(heads.memo) <= 2 * GENERATION


def test_requests_with_equal_fields_share_a_block_whatever_their_method_and_target():
    heads = RequestHeads()
    blocks = {
        id(heads.parse(head("X: y", line=f"{method} /{number} HTTP/1.1"))[2])
        for method in ("GET", "POST", "FOO")
        for number in range(20)
    }
    assert len(blocks) <= 3  # the first sighting, the second, and what was kept


def test_the_version_is_part_of_what_is_remembered():
    heads = RequestHeads()
    for _ in range(4):
        assert heads.parse(head(line="GET / HTTP/1.1"))[2].http11 is True
        assert heads.parse(head(line="GET / HTTP/1.0"))[2].http11 is False


def test_a_remembered_head_is_judged_by_its_own_method_and_target():
    heads, fields = RequestHeads(), ["X: y"]
    for _ in range(4):
        heads.parse(head(*fields))
    for line, reason in [
        ("G@T / HTTP/1.1", "bad_request_line"),
        ("GET  / HTTP/1.1", "bad_request_line"),
        ("GET /  HTTP/1.1", "bad_request_line"),
        (" / HTTP/1.1", "bad_request_line"),
        ("GET /# HTTP/1.1", "bad_target"),
        ("GET * HTTP/1.1", "bad_target"),
        ("GET http://b.test/ HTTP/1.1", "bad_host"),
        ("GET /\x7f HTTP/1.1", "bad_target"),
    ]:
        with pytest.raises(Refused) as caught:
            heads.parse(head(*fields, line=line))
        assert caught.value.reason == reason, line


# a hit equals a parse

WEBSOCKET = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
SEEDS = [
    head("User-Agent: x", "Accept: */*"),
    head("Content-Length: 5", "Content-Type: text/plain", line="POST /a?b=c HTTP/1.1"),
    head("Transfer-Encoding: chunked", line="PUT / HTTP/1.1"),
    head("Connection: keep-alive, X-A", "X-A: 1", "Cookie: a=1", "Cookie: b=2", line="GET /x HTTP/1.0"),
    head("X-Forwarded-For: 1.2.3.4", "X-Request-ID: abc", "Expect: 100-continue", line="OPTIONS * HTTP/1.1"),
    head("Connection: Upgrade", "Upgrade: websocket", *WEBSOCKET, line="GET http://a.test/ HTTP/1.1"),
]
ODD = [
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\xff",
    b"#",
    b"X: y\r\n",
    b"Host: b\r\n",
    b",",
    b"A",
    b"1",
    b"/",
    b"_",
]


def mutated(rng):
    raw = rng.choice(SEEDS)
    for _ in range(rng.randint(0, 2)):
        place, width = rng.randrange(len(raw)), rng.choice([0, 0, 1, 1, 4])
        raw = raw[:place] + rng.choice([*ODD, b""]) + raw[place + width :]
    return raw.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n"  # as the wire cuts it out


def request_reading(heads, raw):
    """All that becomes of a head: the request toward the backend, of a stranger and of a trusted peer, and the rest."""
    try:
        method, target, block = heads.parse(raw)
        toward = [request_head(raw, heads), request_head(raw, heads, trusted=("0.0.0.0/0",))]
    except Refused as refusal:
        return refusal.reason
    slots = ("framing", "host", "host_name", "http11", "keep_alive", "expects_continue", "websocket", "request_id")
    return method, target, toward, [getattr(block, name) for name in slots]


def test_a_hit_equals_a_parse_on_thousands_of_mutated_request_heads():
    rng, warm, accepted = random.Random(9112), RequestHeads(), 0
    for raw in SEEDS:  # mutations of method and target alone hit what is remembered
        for _ in range(3):
            warm.parse(raw)
    for _ in range(4000):
        raw = mutated(rng)
        fresh = request_reading(RequestHeads(), raw)
        accepted += isinstance(fresh, tuple)
        for _ in range(3):
            assert request_reading(warm, raw) == fresh, raw
    assert 500 < accepted < 3500


RESPONSE_SLOTS = (
    "wire",
    "status",
    "status_text",
    "framing",
    "length",
    "reusable",
    "has_date",
    "event_stream",
    "whole",
)
RESPONSE_FIELDS = [
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Date: x\r\nConnection: close\r\n",
    b"Content-Type: text/event-stream\r\n",
    b"Connection: x\r\n",
]


def test_a_hit_equals_a_parse_on_response_heads():
    heads, hits = ResponseHeads(), 0
    for number in range(300):
        line = (b"HTTP/1.1 200 OK", b"HTTP/1.0 404 X", b"HTTP/1.1 204 X")[number % 3]
        special = RESPONSE_FIELDS[number % 5]
        if number % 3 == 1 and b"chunked" in special:
            continue  # malformed on HTTP/1.0
        raw = b"%b\r\nX: %d\r\nServer: x\r\n%b" % (line, number % 30, special)
        hits += heads.memo.get(raw) is not None
        kept, fresh = heads.parse(raw), ResponseHeads().parse(raw)
        assert list(kept) == list(fresh)
        for name in RESPONSE_SLOTS:
            assert getattr(kept, name) == getattr(fresh, name), (name, raw)
    assert hits > 200


def test_the_flags_of_a_response_head_are_all_compared():
    assert set(RESPONSE_SLOTS) == set(Head.__slots__)


def test_a_malformed_response_head_is_malformed_every_time():
    heads = ResponseHeads()
    for _ in range(4):
        with pytest.raises(ResponseHeadError):
            heads.parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n")
    assert len(heads.memo) == 0


def test_a_flood_of_response_heads_that_never_repeat_stays_bounded():
    heads = ResponseHeads()
    for number in range(6000):
        heads.parse(b"HTTP/1.1 200 OK\r\nX-%d: %d\r\n" % (number, number))
        assert len(heads.memo) <= 2 * GENERATION
    assert len(_kinds) <= NAMES_KEPT


def test_a_remembered_response_head_cannot_be_poisoned_by_its_receiver():
    heads, raw = ResponseHeads(), b"HTTP/1.1 200 OK\r\nX: y\r\n"
    for _ in range(4):
        with pytest.raises((TypeError, AttributeError)):
            heads.parse(raw).append(("Set-Cookie", "theirs"))
        list(heads.parse(raw)).append(("Set-Cookie", "theirs"))  # its own copy
    assert list(heads.parse(raw)) == [("X", "y"), *SECURITY_FIELDS.items()]
