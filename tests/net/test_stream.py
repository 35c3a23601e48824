import _socket
import socket

import gevent
import pytest

from aegis.net.deadlines import NEVER, Deadlines
from aegis.net.stream import Stream
from aegis.reasons import DeadlinePassedError
from tests.net.turning import turns
from tests.support.ports import loopback_host


def reading(stream, size=100):
    return gevent.spawn(stream.read_some, size)


def caught(call, *args):
    """In a greenlet: the error that the call ends with, else its value."""

    def run():
        try:
            return call(*args)
        except Exception as error:  # noqa: BLE001 - it is what the test asks for
            return error

    return gevent.spawn(run)


# reading


def test_a_read_waits_and_gives_what_comes(pair):
    stream, peer = pair()
    reader = reading(stream)
    turns()
    assert not reader.ready()
    peer.sendall(b"hello")
    assert reader.get(timeout=5) == b"hello"


def test_a_read_waits_first_even_when_bytes_are_there_so_that_others_get_their_turn(pair):
    stream, peer = pair()
    peer.sendall(b"hello")
    order = []
    reader = gevent.spawn(lambda: order.append(stream.read_some(100)))
    other = gevent.spawn(order.append, "another")
    gevent.joinall([reader, other], timeout=5)
    assert order == ["another", b"hello"]


def test_no_more_than_the_asked_size_is_read_and_the_rest_is_there_at_once(pair):
    stream, peer = pair()
    peer.sendall(b"hello")
    assert [stream.read_some(2), stream.read_some(2), stream.read_some(2)] == [b"he", b"ll", b"o"]


def test_the_end_of_the_stream_is_an_empty_read_and_stays_one(pair):
    stream, peer = pair()
    peer.close()
    assert [stream.read_some(10), stream.read_some(10)] == [b"", b""]


def test_bytes_before_the_end_come_first(pair):
    stream, peer = pair()
    peer.sendall(b"last words")
    peer.close()
    assert [stream.read_some(100), stream.read_some(100)] == [b"last words", b""]


def test_a_piece_is_what_is_there_up_to_the_asked_size(pair):
    stream, peer = pair()
    peer.sendall(b"hello")
    assert bytes(stream.read_piece(3)) == b"hel"
    assert bytes(stream.read_piece()) == b"lo"
    peer.close()
    assert len(stream.read_piece()) == 0


def test_pieces_of_many_streams_never_mix_whoever_stalls(pair):
    # Pieces may lie in a buffer that all streams share: what a slow sink did not take must not change under it.
    size, streams = 3_000_000, 12

    def move(source, sink):
        while piece := source.read_piece():
            sink.send_all(piece, 30)
        sink.close()

    def take(peer, number):
        got = bytearray()
        while data := peer.recv(10_000 + 7_000 * number):
            got += data
            gevent.sleep(0)  # let the others fill the buffer meanwhile
        return bytes(got)

    moving, feeding, taking = [], [], []
    for number in range(streams):
        (source, feeder), (sink, taker) = pair(), pair()
        body = bytes([number]) * size
        feeding.append(gevent.spawn(lambda feeder=feeder, body=body: (feeder.sendall(body), feeder.close())))
        moving.append(gevent.spawn(move, source, sink))
        taking.append(gevent.spawn(take, taker, number))
    gevent.joinall([*moving, *feeding, *taking], timeout=50, raise_error=True)
    for number, greenlet in enumerate(taking):
        assert greenlet.get() == bytes([number]) * size


def test_reads_that_follow_each_other_need_no_pause_between(pair):
    stream, peer = pair()
    got = []
    reader = gevent.spawn(lambda: [got.append(stream.read_some(1)) for _ in range(100)])
    for number in range(100):
        peer.sendall(bytes([number]))
    reader.get(timeout=5)
    assert b"".join(got) == bytes(range(100))


def test_a_peek_leaves_the_byte_where_it_is(pair):
    stream, peer = pair()
    assert stream.peek() is None
    peer.sendall(b"ab")
    assert stream.peek() == b"a"
    assert stream.read_some(10) == b"ab"
    assert stream.peek() is None
    peer.close()
    assert stream.peek() == b""


def test_a_killed_reader_leaves_the_stream_to_the_next_one(pair):
    stream, peer = pair()
    first = reading(stream)
    turns()
    first.kill()
    second = reading(stream)
    turns()
    peer.sendall(b"hello")
    assert second.get(timeout=5) == b"hello"


# deadlines


def test_a_late_read_ends_with_the_deadline_error(pair, deadlines):
    stream, _ = pair()
    stream.deadline = stream.now() - 1
    reader = caught(stream.read_some, 10)
    turns()
    deadlines.sweep()
    assert isinstance(reader.get(timeout=5), DeadlinePassedError)


def test_a_short_deadline_passes_by_itself(pair, sweep_until):
    stream, _ = pair()
    stream.deadline = stream.now() + 0.02
    reader = caught(stream.read_some, 10)
    sweep_until(reader)
    assert isinstance(reader.value, DeadlinePassedError)


def test_a_deadline_that_is_not_due_does_nothing(pair, deadlines):
    stream, peer = pair()
    stream.deadline = stream.now() + 60
    reader = reading(stream)
    for _ in range(5):
        deadlines.sweep()
        turns(1)
    assert not reader.ready()
    peer.sendall(b"in time")
    assert reader.get(timeout=5) == b"in time"


def test_the_sweep_looks_again_before_it_throws(pair, deadlines):
    stream, peer = pair()
    stream.deadline = stream.now() - 1
    reader = reading(stream)
    turns()
    deadlines.sweep()
    stream.deadline = NEVER  # the owner settled it before the hub came to it
    turns()
    peer.sendall(b"hello")
    assert reader.get(timeout=5) == b"hello"


def test_a_stream_can_answer_after_its_read_expired(pair, deadlines):
    stream, peer = pair()
    stream.deadline = stream.now() - 1
    reader = caught(stream.read_some, 10)
    turns()
    deadlines.sweep()
    reader.get(timeout=5)
    stream.send_all(b"408", 5)
    assert peer.recv(10) == b"408"
    peer.sendall(b"late")
    assert stream.read_some(10) == b"late"


def test_of_many_streams_only_the_late_ones_expire(pair, deadlines):
    streams = [pair()[0] for _ in range(60)]
    for number, stream in enumerate(streams):
        stream.deadline = stream.now() + (-1 if number % 3 == 0 else 60)
    readers = [caught(stream.read_some, 10) for stream in streams]
    turns()
    deadlines.sweep()
    turns()
    assert [reader.ready() for reader in readers] == [number % 3 == 0 for number in range(60)]
    assert "60 streams" in repr(deadlines)
    gevent.killall(readers)


def test_the_greenlet_that_sweeps_goes_on(pair, deadlines):
    stream, _ = pair()
    stream.deadline = stream.now() - 1
    reader = caught(stream.read_some, 10)
    turns()
    sweeper = gevent.spawn(lambda: (deadlines.sweep(), gevent.sleep(0), "went on")[-1])
    assert sweeper.get(timeout=5) == "went on"
    assert isinstance(reader.get(timeout=5), DeadlinePassedError)


# nobody waits


def test_an_idle_stream_tells_when_bytes_come_once_and_does_not_spin(pair):
    stream, peer = pair()
    events = []
    stream.on_event = lambda: events.append(stream.peek())
    stream.watch()
    turns()
    assert events == []
    peer.sendall(b"unasked")
    turns(10)
    assert events == [b"u"]


def test_an_idle_stream_tells_when_its_peer_closes(pair):
    stream, peer = pair()
    events = []
    stream.on_event = lambda: events.append(stream.peek())
    stream.watch()
    peer.close()
    turns(10)
    assert events == [b""]


def test_an_idle_stream_tells_when_its_deadline_passes(pair, deadlines):
    stream, _ = pair()
    events = []
    stream.on_event = lambda: events.append("late")
    stream.deadline = stream.now() - 1
    for _ in range(3):
        deadlines.sweep()
        turns()
    assert events == ["late"]


def test_a_late_idle_stream_without_an_owner_is_left_alone(pair, deadlines):
    stream, peer = pair()
    stream.deadline = stream.now() - 1
    deadlines.sweep()
    turns()
    peer.sendall(b"x")
    assert stream.read_some(1) == b"x"


def test_a_waiting_reader_gets_the_bytes_and_no_event_is_told(pair):
    stream, peer = pair()
    events = []
    stream.on_event = lambda: events.append(1)
    reader = reading(stream)
    turns()
    peer.sendall(b"x")
    assert reader.get(timeout=5) == b"x"
    assert events == []


def test_after_an_event_the_next_read_gets_the_bytes(pair):
    stream, peer = pair()
    stream.on_event = lambda: None
    stream.watch()
    peer.sendall(b"early")
    turns()
    assert stream.read_some(10) == b"early"
    stream.watch()
    turns()
    peer.sendall(b"more")
    assert stream.read_some(10) == b"more"


def test_an_event_may_close_the_stream(pair):
    stream, peer = pair()
    stream.on_event = stream.close
    stream.watch()
    peer.close()
    turns()
    assert stream.sock.fileno() == -1


# writing

LARGE = bytes(range(256)) * 8192  # 2 MB: more than any socket buffer takes at once


def received(peer, size):
    data = bytearray()
    while len(data) < size and (piece := peer.recv(65536)):
        data += piece
    return bytes(data)


def test_what_fits_is_sent_at_once(pair):
    stream, peer = pair()
    stream.send_all(b"hello", 5)
    stream.send_all(memoryview(b" world"), 5)
    assert received(peer, 11) == b"hello world"


def test_a_full_buffer_is_waited_for_and_everything_arrives(pair):
    stream, peer = pair()
    writer = gevent.spawn(stream.send_all, LARGE, 5)
    turns()
    assert not writer.ready()
    assert received(peer, len(LARGE)) == LARGE
    writer.get(timeout=5)


def test_the_deadline_of_the_owner_is_back_after_a_stalled_write(pair):
    stream, peer = pair()
    stream.deadline = due = stream.now() + 1000
    writer = gevent.spawn(stream.send_all, LARGE, 5)
    received(peer, len(LARGE))
    writer.get(timeout=5)
    assert stream.deadline == due


def test_a_reader_that_takes_nothing_ends_the_write_after_the_stall(pair, sweep_until):
    stream, _ = pair()
    writer = caught(stream.send_all, LARGE, 0.02)
    sweep_until(writer)
    assert isinstance(writer.value, DeadlinePassedError)


def test_a_slow_reader_that_makes_progress_lives_on(pair, deadlines):
    stream, peer = pair()
    writer = gevent.spawn(stream.send_all, LARGE, 30)
    got = bytearray()
    while len(got) < len(LARGE):
        got += peer.recv(256 * 1024)
        deadlines.sweep()
        gevent.sleep(0)
    writer.get(timeout=5)
    assert bytes(got) == LARGE


def test_a_peer_that_left_is_an_os_error(pair):
    stream, peer = pair()
    peer.close()
    with pytest.raises(OSError, match=r".*"):
        stream.send_all(LARGE, 5)


def test_a_peer_that_leaves_ends_a_stalled_write(pair):
    stream, peer = pair()
    writer = caught(stream.send_all, LARGE, 5)
    turns()
    peer.close()
    assert isinstance(writer.get(timeout=5), OSError)


def test_reading_and_writing_go_side_by_side(pair):
    stream, peer = pair()
    reader, writer = reading(stream), gevent.spawn(stream.send_all, LARGE, 5)
    turns()
    peer.sendall(b"meanwhile")
    assert reader.get(timeout=5) == b"meanwhile"
    assert not writer.ready()
    assert received(peer, len(LARGE)) == LARGE
    writer.get(timeout=5)


# interrupting and closing


class StopWaitingError(Exception):
    pass


def test_a_throw_ends_whichever_wait_is_under_way(pair):
    for wait in (lambda stream: stream.read_some(10), lambda stream: stream.send_all(LARGE, 5)):
        stream, _ = pair()
        waiting = caught(wait, stream)
        turns()
        stream.call_soon(stream.throw, StopWaitingError())
        assert isinstance(waiting.get(timeout=5), StopWaitingError)


def test_a_throw_with_nobody_waiting_does_nothing(pair):
    stream, peer = pair()
    stream.call_soon(stream.throw, StopWaitingError())
    turns()
    peer.sendall(b"x")
    assert stream.read_some(1) == b"x"


def test_closing_twice_does_nothing(pair, deadlines):
    stream, peer = pair()
    stream.close()
    stream.close()
    assert stream not in deadlines.streams
    assert peer.recv(1) == b""


def test_closing_tells_no_owner_and_wakes_no_stream_that_took_the_same_descriptor(pair, deadlines):
    events = []
    for _ in range(30):
        old, _ = pair()
        old.on_event = lambda: events.append("woken")
        old.watch()
        old.deadline = old.now() - 1
        number = old.sock.fileno()
        deadlines.sweep()  # its expiry is on the way
        old.close()
        new, peer = pair()
        reader = reading(new)
        turns(1)
        assert not reader.ready()
        peer.sendall(b"new")
        assert reader.get(timeout=5) == b"new"
        if new.sock.fileno() == number:
            break
    else:
        pytest.fail("no descriptor was used again")
    assert events == []


def test_a_reset_on_close_lets_the_peer_see_an_abort():  # over TCP: a socketpair knows no reset
    with socket.socket() as listener:
        listener.bind((loopback_host(), 0))
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=5) as peer:
            ours, _ = listener.accept()
            stream = Stream(_socket.socket(fileno=ours.detach()), Deadlines())
            stream.send_all(b"half", 5)
            assert peer.recv(10) == b"half"
            stream.reset_on_close()
            stream.close()
            with pytest.raises(ConnectionResetError):
                peer.recv(1)


def test_a_stream_says_what_it_waits_for(pair):
    stream, peer = pair()
    assert "waits for nothing" in repr(stream)
    reader = reading(stream)
    turns()
    assert "waits for read" in repr(stream)
    writer = gevent.spawn(stream.send_all, LARGE, 5)
    turns()
    assert "read+write" in repr(stream)
    gevent.killall([reader, writer])
    assert peer


def test_an_end_of_sending_leaves_the_other_way_open(pair):
    stream, peer = pair()
    stream.send_all(b"last", 5)
    stream.end_sending()
    assert peer.recv(10) == b"last"
    assert peer.recv(10) == b""
    peer.sendall(b"still here")
    assert stream.read_some(10) == b"still here"


def test_an_end_of_sending_toward_a_peer_that_is_gone_does_nothing(pair):
    stream, peer = pair()
    peer.close()
    stream.end_sending()
    stream.end_sending()
