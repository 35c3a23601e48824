import gevent
import pytest

from aegis.wire.connection import TRANSITIONS, Event, State
from tests.support.poll import eventually


def reachable(start, table):
    found, edge = {start}, [start]
    while edge:
        state = edge.pop()
        for (before, _), after in table.items():
            if before is state and after not in found:
                found.add(after)
                edge.append(after)
    return found


def test_every_state_is_reached_from_a_fresh_connection():
    assert reachable(State.FRESH, TRANSITIONS) == set(State)


def test_every_state_ends_in_closed_and_nothing_leaves_it():
    for state in State:
        assert State.CLOSED in reachable(state, TRANSITIONS)
    assert not [before for before, _ in TRANSITIONS if before is State.CLOSED]


def test_every_event_moves_some_state():
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_only_an_answered_request_makes_a_connection_idle():
    assert {before for (before, _), after in TRANSITIONS.items() if after is State.IDLE} == {State.EXCHANGE}


def test_an_exchange_ends_in_one_of_three_ways():
    assert {event for before, event in TRANSITIONS if before is State.EXCHANGE} == {Event.KEPT, Event.CUT, Event.DONE}


@pytest.fixture
def slow():
    """(an app that answers when told, the word)"""
    word = gevent.event.Event()

    def app(environ, start_response):
        word.wait(5)
        start_response("200 OK", [])
        return [b"done"]

    return app, word


def states(server):
    return [connection.state for connection in server.connections]


def test_a_connection_goes_through_its_states(serve, slow):
    app, word = slow
    connect = serve(app)
    client, server = connect(), connect.server
    eventually(lambda: states(server) == [State.FRESH], "a fresh connection")
    client.send(b"GET / HTTP/1.1\r\n")
    eventually(lambda: states(server) == [State.HEAD], "half a head")
    client.send(b"Host: a.test\r\n\r\n")
    eventually(lambda: states(server) == [State.EXCHANGE], "a request under way")
    assert server.busy() == 1
    assert "EXCHANGE" in repr(next(iter(server.connections)))
    word.set()
    client.read_response()
    eventually(lambda: states(server) == [State.IDLE], "an idle connection")
    assert server.busy() == 0
    client.close()
    eventually(lambda: states(server) == [], "its end")


def test_closing_idle_connections_leaves_the_busy_ones(serve, slow):
    app, word = slow
    connect = serve(app)
    idle, busy, server = connect(), connect(), connect.server
    busy.request("GET", "/")
    eventually(lambda: set(states(server)) == {State.FRESH, State.EXCHANGE}, "one of each")
    gevent.get_hub().loop.run_callback(server.close_idle)
    assert idle.ends_silently()
    word.set()
    assert busy.read_response().body == b"done"


def test_a_refused_head_is_answered_and_lingers_so_that_the_answer_arrives(serve):
    def app(environ, start_response):
        start_response("400 Bad Request", [])
        return [environ["aegis.request"].reason.encode()]

    connect = serve(app)
    client = connect()
    client.send(b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n" + b"x" * 10_000)
    response = client.read_response()
    assert response.body == b"bad_field"
    assert "close" in response.tokens("Connection")
    eventually(lambda: states(connect.server) == [State.LINGER], "the linger")
    client.close()
    eventually(lambda: states(connect.server) == [], "its end")


def test_pipelined_requests_are_answered_in_their_order(serve):
    def app(environ, start_response):
        gevent.sleep(0)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    client = serve(app)()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n" % number for number in range(50)))
    assert [client.read_response().body for _ in range(50)] == [b"/%d" % number for number in range(50)]


def test_a_request_that_the_loop_has_not_read_yet_keeps_its_connection_from_being_closed_as_idle(serve):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    connect = serve(app)
    client, server = connect(), connect.server
    assert client.get("/").body == b"ok"
    eventually(lambda: states(server) == [State.IDLE], "an idle connection")

    def close_idle_before_the_loop_reads():
        client.socket.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        server.close_idle()

    gevent.get_hub().loop.run_callback(close_idle_before_the_loop_reads)
    assert client.read_response().body == b"ok"
