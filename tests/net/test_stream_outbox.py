"""What one turn of the loop has to say leaves together at its end, in order, and is never lost."""

from __future__ import annotations

import gevent
import pytest

from aegis.net.outbox import UnaskedError
from aegis.reasons import DeadlinePassedError
from tests.net.turning import turns
from tests.support.poll import eventually

LARGE = bytes(range(256)) * 16_384  # 4 MB: more than any socket buffer here takes


def received(peer, count):
    data = bytearray()
    while len(data) < count:
        piece = peer.recv(min(65_536, count - len(data)))
        assert piece, f"the stream ended after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


def nothing_there(peer):
    peer.settimeout(0)
    try:
        with pytest.raises(BlockingIOError):
            peer.recv(1)
    finally:
        peer.settimeout(5)


def test_bytes_leave_at_the_end_of_the_turn_and_not_before(pair):
    stream, peer = pair()
    stream.send_soon(b"hello", 5)
    nothing_there(peer)
    turns()
    assert peer.recv(10) == b"hello"


def test_what_is_said_in_one_turn_arrives_in_its_order(pair):
    stream, peer = pair()
    for number in range(10):
        stream.send_soon(b"%d" % number, 5)
    stream.send_all(b"then", 5)
    stream.send_soon(b"last", 5)
    assert received(peer, 14) == b"0123456789then"
    turns()
    assert peer.recv(10) == b"last"


def test_streams_of_one_turn_each_get_their_own_bytes(pair):
    pairs = [pair() for _ in range(20)]
    for number, (stream, _) in enumerate(pairs):
        stream.send_soon(b"%d" % number, 5)
    turns()
    assert [peer.recv(10) for _, peer in pairs] == [b"%d" % number for number in range(20)]


def test_the_time_of_sending_is_that_of_the_turns_end(pair):
    stream, _ = pair()
    before = stream.now()
    stream.send_soon(b"x", 5)
    assert stream.sent_at == 0.0
    turns()
    assert before <= stream.sent_at <= stream.now()


def test_what_the_kernel_does_not_take_at_once_follows_without_anybody_waiting(pair):
    stream, peer = pair()
    stream.send_soon(LARGE, 5)
    turns()
    assert stream.pending
    assert received(peer, len(LARGE)) == LARGE
    eventually(lambda: not stream.pending, "the rest")


def test_whoever_sends_more_to_a_peer_that_takes_nothing_waits_and_is_ended_by_the_stall(pair, sweep_until):
    stream, _ = pair()
    stream.send_soon(LARGE, 5)
    turns()
    caught = []

    def send():
        with pytest.raises(DeadlinePassedError) as error:
            stream.send_soon(b"more", 0.02)
        caught.append(error)

    writer = gevent.spawn(send)
    sweep_until(writer)
    writer.get()
    assert caught


def test_bytes_sent_after_a_stalled_answer_stand_behind_it(pair):
    stream, peer = pair()
    stream.send_soon(LARGE, 5)
    turns()
    writer = gevent.spawn(stream.send_all, b"behind", 5)
    assert received(peer, len(LARGE) + 6) == LARGE + b"behind"
    writer.get(timeout=5)


def test_a_close_in_the_same_turn_loses_nothing(pair):
    stream, peer = pair()
    stream.send_soon(b"goodbye", 5)
    stream.close()
    assert received(peer, 7) == b"goodbye"
    assert peer.recv(1) == b""
    turns()  # the outbox meets the closed stream and leaves it alone


def test_a_peer_that_left_is_found_by_the_next_read(pair):
    stream, peer = pair()
    peer.close()
    stream.send_soon(b"into the void", 5)
    turns()
    assert gevent.spawn(stream.read_some, 10).get(timeout=5) == b""


def test_a_peer_that_takes_nothing_is_late_after_the_stall(pair, deadlines):
    stream, _ = pair()
    told = []
    stream.on_event = lambda: told.append(stream.pending)
    stream.send_soon(LARGE, 0.02)
    turns()

    def late():
        deadlines.sweep()
        turns()
        return told

    eventually(late, "the deadline of a peer that takes nothing")


def asked(stream):
    """The answer to what is asked now, or UnaskedError."""
    stream.ask_soon(b"ask", 5)
    try:
        heard = stream.read_some(100)
        if stream.pending:
            stream.take_back()
    except UnaskedError as error:
        return error
    return heard


def test_an_answer_to_what_was_asked_is_none_that_came_unasked(pair):
    stream, peer = pair()
    answering = gevent.spawn(lambda: peer.sendall(b"answer to " + peer.recv(10)))
    assert asked(stream) == b"answer to ask"
    answering.join()


@pytest.mark.parametrize("watched", [False, True])
def test_who_is_spoken_to_before_it_has_asked_gets_no_answer_and_sends_nothing(pair, watched):
    stream, peer = pair()
    if watched:
        stream.watch()  # as a parked connection is: its reader may be woken before the turn has ended
    peer.sendall(b"stray")
    assert isinstance(asked(stream), UnaskedError)
    turns()
    nothing_there(peer)


def test_others_of_the_same_turn_are_sent_all_the_same(pair):
    (spoken_to, stray), *others = [pair() for _ in range(4)]
    stray.sendall(b"stray")
    asking = [gevent.spawn(asked, stream) for stream, _ in ((spoken_to, stray), *others)]
    for _, peer in others:
        assert peer.recv(10) == b"ask"
        peer.sendall(b"answer")
    gevent.joinall(asking, raise_error=True)
    assert isinstance(asking[0].value, UnaskedError)
    assert [each.value for each in asking[1:]] == [b"answer"] * 3
