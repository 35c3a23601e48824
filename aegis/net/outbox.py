"""What the streams of one loop have to say at the end of its turn: all of it is sent together (decisions/0005)."""

import select
from time import monotonic
from typing import TYPE_CHECKING, Final

from gevent import monkey

if TYPE_CHECKING:
    from aegis.net.stream import Stream

outbox: "Final[list[Stream]]" = []
"""Streams with something to send at the end of this turn of the loop."""

asking: "Final[list[Stream]]" = []
"""Those of them to which nobody may have spoken before they have asked."""

_poll: Final = monkey.get_original("select", "poll")


class UnaskedError(Exception):
    """The peer spoke, or went, before it was asked anything: what comes is no answer, and nothing was sent."""

    def __init__(self) -> None:
        super().__init__("spoke before it was asked")


def empty() -> None:
    """Send it. Only from a hub callback."""
    while asking:
        _see_who_spoke_unasked()
    streams = outbox[:]
    outbox.clear()
    now = monotonic()
    for stream in streams:
        data = stream.pending
        if not data:
            continue  # closed, or sent by send_all, in the meantime
        stream.pending = b""
        stream.sent_at = now
        send = stream.send
        try:
            sent = send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            continue  # the peer is gone: the reader of this stream is told by the kernel too
        if sent != len(data):
            stream.keep_sending(data, sent, now)


def _see_who_spoke_unasked() -> None:
    """One question to the kernel for all: half a microsecond for each of them would be 2 % of a request."""
    streams = {stream.sock.fileno(): stream for stream in asking if stream.pending}
    asking.clear()
    poll = _poll()
    for descriptor in streams:
        poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(0):
        stream = streams[descriptor]
        if stream.pending:
            stream.pending = b""
            stream.throw(UnaskedError())  # and whoever waited may ask elsewhere at once
