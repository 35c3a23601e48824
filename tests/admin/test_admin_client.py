"""`Control` over the socket: the same verbs, and words for what can go wrong."""

from __future__ import annotations

import socket

import gevent
import pytest

from aegis.admin.client import AdminClient, UnreachableError
from aegis.control import Control, Reloaded, UnknownBackendError, VerbError
from tests.admin.conftest import refused
from tests.support.poll import eventually
from tests.support.ports import free_port


@pytest.fixture(params=["port", "unix"])
def served(request, serve, socket_path):
    return serve(f"unix:{socket_path}" if request.param == "unix" else "")


@pytest.fixture
def client(served):
    client: Control = AdminClient(served.text)
    return client


def test_the_snapshot_comes_over_as_it_is(served, client):
    served.watched.ended()
    eventually(lambda: client.snapshot().requests == 1, "the snapshot with the request")
    assert client.snapshot().backends == served.watched.observer.collect().backends


def test_verbs_do_what_they_do_in_process(served, client):
    assert client.drain("a") == "a gets no new requests, 0 in flight"
    assert served.watched.state("a").drained
    assert client.resume("a") == "a gets requests again"
    assert not served.watched.state("a").drained
    assert client.reload() == Reloaded(applied=("rate_limit.burst: 150 → 200",), needs_restart=())


def test_events_come_over_with_their_fields(client):
    client.drain("a")
    client.drain("b")
    (event,) = [event for event in client.events(after=1) if event.kind == "drain"]
    assert event.fields == {"backend": "b", "in_flight": 0}


def test_an_unknown_backend_is_the_same_error_as_in_process(client):
    with pytest.raises(UnknownBackendError, match="no backend is called c; there are: a, b, idle"):
        client.drain("c")


@pytest.mark.parametrize("name", ["../reload", "a/b", "a?b", "ä", ""])
def test_a_strange_name_stays_a_name(client, name):
    with pytest.raises(VerbError):
        client.drain(name)


def test_a_verb_that_cannot_be_done_keeps_its_words(served, client):
    served.reload_does = refused
    with pytest.raises(VerbError, match=r"server\.port = 0: must be 1 to 65535"):
        client.reload()


# nobody, or somebody else


def test_a_port_where_nobody_listens():
    address = "{}:{}".format(*free_port())
    with pytest.raises(UnreachableError, match=f"no Aegis answers at {address}: Connection refused"):
        AdminClient(address).snapshot()


def test_a_socket_that_does_not_exist(socket_path):
    with pytest.raises(UnreachableError, match="No such file or directory"):
        AdminClient(f"unix:{socket_path}").snapshot()


@pytest.mark.parametrize("text", ["", "9090", "example.test:9090", "unix:", "127.0.0.1:0"])
def test_what_is_no_address_is_refused_at_once(text):
    with pytest.raises(ValueError, match="must"):
        AdminClient(text)


def answering(data):
    """The address of somebody who answers each connection with `data` and is still there; None = says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        peer, _ = listener.accept()
        with peer, listener:
            peer.recv(4096)
            if data is None:
                gevent.sleep(5)
            else:
                peer.sendall(data)

    return f"127.0.0.1:{listener.getsockname()[1]}", gevent.spawn(run)


def test_one_who_says_nothing_is_given_up_in_time():
    address, somebody = answering(None)
    with pytest.raises(UnreachableError, match=r"did not answer within 0\.1 s"):
        AdminClient(address, patience=0.1).snapshot()
    somebody.kill()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_somebody_who_is_no_aegis_is_told_in_words(data):
    address, somebody = answering(data)
    with pytest.raises(UnreachableError, match=address):
        AdminClient(address).snapshot()
    somebody.join()
