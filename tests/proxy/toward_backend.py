"""The head that goes to a backend, made of a client's head and its TCP address."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_network

from gevent import socket

from aegis.context import RequestContext
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.net.deadlines import Deadlines
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.wire.server import Server, WireSettings

IDENTITY = "0123456789abcdef" * 2
ADDRESS = "203.0.113.9"

Fields = list[tuple[bytes, bytes]]


@cache
def peer(address=ADDRESS, trusted=()):
    """As the server makes it of a TCP address."""
    settings = WireSettings(1, 1, 1, 8192, 100, 10, [ip_network(network) for network in trusted])
    with socket.socket() as listener:
        return Server(listener, None, settings, Deadlines(), RequestHeads()).peer_of((address,))


def request_head(raw: bytes, heads: RequestHeads | None = None, **peers) -> tuple[bytes, Fields]:
    """(request line, fields) toward the backend for this head without its empty line."""
    context = RequestContext(IDENTITY, peer(**peers), *(heads or RequestHeads()).parse(raw), 0.0)
    head = ProxyApp(None, ResponseHeads(), Timeouts(1, 1, 1), None).request_head(context)
    assert head.find(b"\r\n\r\n") == len(head) - 4
    line, *lines = head[:-4].split(b"\r\n")
    split = [each.partition(b":") for each in lines]
    return line, [(name, value.strip(b" \t")) for name, _, value in split]


def of_the_client(fields: Fields) -> Fields:
    """Without what we say ourselves of an untrusted peer."""
    ours = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
    kept = [pair for pair in fields if pair[0].lower() not in ours]
    vias = [place for place, pair in enumerate(kept) if pair == (b"Via", b"1.1 aegis")]
    del kept[vias[-1]]
    return kept
