"""One request and its answer: environ, `start_response`, framing, abort. Knows the connection only as a stream.

An HTTP/2 stream will be an exchange too, which is why nothing here reads a head or keeps a connection alive.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_to_bytes

from aegis.context import KEY, Environ, Fields, RequestContext, Tunnel
from aegis.http1 import write
from aegis.http1.chunked import LAST_CHUNK
from aegis.http1.response_head import SWITCHING, Head
from aegis.reasons import (
    ANSWERS,
    OK,
    BackendError,
    ClientGoneError,
    DeadlinePassedError,
    Reason,
    Refused,
    StoppedError,
)

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.wire.request_body import RequestBody

PROVEN: Final = 512 * 1024
"""Bytes of a body after which its reader may have more unsent ones in the kernel: fewer and larger turns."""

log = logging.getLogger(__name__)

DRAINED: Final = 64 * 1024
"""Bytes of an unread request body that are read off so that the connection can be kept."""

_CLOSE: Final = b"Connection: close\r\n\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n\r\n"  # for 1.0 clients, which would else expect the close
_NO_FIELDS: Final[Fields] = []
_NO_BODY: Final = frozenset({"204", "304"})


class _AbortError(Exception):
    """The answer cannot be ended cleanly; the reason is in the context."""


class Exchange:
    """Runs the stack for one request and writes what it answers.

    keep: whether the connection may serve another request; settled before the head goes out. broken: the answer
    could not be ended cleanly, or nobody is there to read it.
    """

    __slots__ = (
        "_chunked",
        "_fields",
        "_head_sent",
        "_left",
        "_no_body",
        "_status",
        "body",
        "broken",
        "context",
        "keep",
        "stream",
        "write_timeout",
    )

    def __init__(
        self,
        context: RequestContext,
        stream: "Stream",
        body: "RequestBody | None",
        write_timeout: float,
        keep: bool,  # noqa: FBT001
    ) -> None:
        self.context = context
        self.stream = stream
        self.body = body
        self.keep = keep
        self.write_timeout = write_timeout
        self.broken = False
        self._status = ""
        self._fields: Fields | Head = _NO_FIELDS  # until start_response is called
        self._head_sent = False
        self._chunked = False
        self._no_body = False
        self._left: int | None = None  # bytes that Content-Length still promises

    def __repr__(self) -> str:
        return f"<Exchange {self.context!r}{' keep' if self.keep else ''}>"

    def run(self, app: "Callable[..., Iterable[bytes | memoryview]]", environ: Environ, came: bytes = b"") -> None:
        """Answer the request. Never raises but for a bug of ours; afterwards `keep` tells what becomes of the rest.

        came: the client's bytes behind the request's head, which belong to a tunnel if there will be one.
        """
        context = self.context
        try:
            result = app(environ, self.start_response)
            if type(result) is list:
                self._send_whole(result)
            else:
                self._send_pieces(result, came)
            if self.body is not None and self.keep:
                self._drain()
        except _AbortError:
            self._abort()
        except (ClientGoneError, OSError) as error:
            self.fail(Reason.CLIENT_GONE, str(error))
        except DeadlinePassedError as late:
            self.fail(Reason.CLIENT_SLOW, str(late))
            self.stream.reset_on_close()  # what the kernel still holds for this reader is let go at once
        except Refused as refusal:
            self.fail(refusal.reason, refusal.detail)
        except Exception:
            # The layers' own recovery covers their call; this one what comes while the answer is iterated.
            log.exception("an answer failed inside Aegis", extra={"request_id": context.id})
            self.fail(Reason.INTERNAL_ERROR, "")
        finally:
            if self.body is not None:
                context.bytes_in = self.body.taken
            on_end = context.on_end
            if on_end is not None:
                on_end(context)

    def start_response(self, status: str, fields: Fields | Head, exc_info: Any = None) -> Callable[[bytes], None]:
        """PEP 3333. A second call needs exc_info, and re-raises it when the head is out already."""
        if exc_info is not None:
            try:
                if self._head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status:
            raise AssertionError("start_response was called twice")
        self._status, self._fields = status, fields
        return self  # PEP 3333's `write`: a bound method would be made for each request

    def __call__(self, piece: bytes) -> None:
        """Send a piece of the body, the head before the first one."""
        self._write(piece)

    # the head

    def _head(self, known: int | None) -> list[bytes | memoryview]:
        """The head's bytes in parts, empty line included. known: the body's length when all of it is at hand."""
        context, fields, status = self.context, self._fields, self._status
        context.status = int(status[:3])
        self._head_sent = True
        self.stream.pace = None  # that of an answer before this one
        self._no_body = context.method == "HEAD" or status[:3] in _NO_BODY
        if isinstance(fields, Head):
            wire, has_date, declared = fields.wire, fields.has_date, fields.framing.length
        else:
            wire, has_date, declared = _foreign(status, fields if context.secure is None else context.secure(fields))
        self._left = declared
        parts: list[bytes | memoryview] = [wire, context.id_line, context.extra]
        if not has_date:
            parts.append(write.date_line())
        if declared is None and not self._no_body:
            parts.append(self._frame(known))
        if context.reason is not OK or context.close or self.body is not None:
            self._settle_keep()
        if not self.keep:
            parts.append(_CLOSE)
        elif context.block.http11:
            parts.append(b"\r\n")
        else:
            parts.append(_KEEP_ALIVE)
        return parts

    def _frame(self, known: int | None) -> bytes:
        """Say how long a body of undeclared length is; a 1.0 client reads until the close."""
        if known is not None and not isinstance(self._fields, Head):
            self._left = known
            return b"Content-Length: %d\r\n" % known
        if self.context.block.http11:
            self._chunked = True
            return b"Transfer-Encoding: chunked\r\n"
        self.keep = False
        return b""

    def _settle_keep(self) -> None:
        context = self.context
        if context.close or (context.reason is not OK and ANSWERS[context.reason].close):
            self.keep = False
        body = self.body
        if body is None or body.complete or not self.keep:
            return
        remaining = body.remaining()
        # Nobody knows whether a client that still waits for its 100 will send the body after this answer.
        if remaining is None or remaining > DRAINED or body.unanswered_expect:
            self.keep = False

    # the body

    def _send_whole(self, pieces: list[bytes | memoryview]) -> None:
        """All of the body is at hand: head and body leave in one send when they are small."""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        length = len(body)
        context, fields = self.context, self._fields
        if (
            type(fields) is Head
            and fields.whole == length
            and context.block.plain
            and self.keep
            and context.method != "HEAD"
            and not self._head_sent
        ):
            # The hot path: a backend's answer to which nothing has to be added. `_head` would say the same.
            self._head_sent = True
            context.status, context.bytes_out = fields.status, length
            wire = b"".join((fields.wire, context.id_line, context.extra, b"\r\n", body))
            self.stream.send_soon(wire, self.write_timeout)
            return
        if self._head_sent:
            self._write(body)
            self._end()
            return
        parts = self._head(length)
        if not self._no_body:
            self.context.bytes_out = length
            if self._chunked:
                parts += (write.chunk(body), LAST_CHUNK) if length else (LAST_CHUNK,)
            else:
                parts.append(body)
                if self._left is not None and self._left != length:
                    raise AssertionError("Content-Length and body disagree")
        self.stream.send_all(b"".join(parts), self.write_timeout, self.context.bytes_out)

    def _send_pieces(self, result: "Iterable[bytes | memoryview]", came: bytes) -> None:
        """Pieces leave as they come. An empty first one sends the head alone: the body may take its time."""
        try:
            fields = self._fields
            if isinstance(fields, Head) and fields.status == SWITCHING:
                self._switch(cast("Tunnel", result), fields, came)  # nothing else stands behind a backend's 101
                return
            for piece in result:
                self._write(piece)
                if self._no_body:
                    break
            if not self._head_sent:
                self._write(b"")
            self._end()
        except BackendError as error:
            self.context.reason, self.context.detail = error.reason, error.detail
            raise _AbortError from error
        except StoppedError as stop:
            self.context.detail = str(stop)  # what was said until now was the backend's own: the reason stays
            raise _AbortError from stop
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _write(self, piece: bytes | memoryview) -> None:
        length = len(piece)
        parts = [] if self._head_sent else self._head(None)
        if length and not self._no_body:
            self._count(length)
            parts += (b"%x\r\n" % length, piece, b"\r\n") if self._chunked else (piece,)
        self._send(parts)

    def _send(self, parts: list[bytes | memoryview]) -> None:
        """One send for all parts; a single one goes as it is, since it may be a large view."""
        if self.context.bytes_out > PROVEN:
            self.stream.widen()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(data):
            self.stream.send_all(data, self.write_timeout, self.context.bytes_out)

    def _count(self, length: int) -> None:
        self.context.bytes_out += length
        if self._left is not None:
            self._left -= length
            if self._left < 0:
                raise AssertionError("more body than Content-Length promised")

    def _end(self) -> None:
        if self._chunked:
            self.stream.send_all(LAST_CHUNK, self.write_timeout, self.context.bytes_out)
        if self._left and not self._no_body:
            raise _AbortError

    # the tunnel

    def _switch(self, tunnel: Tunnel, fields: Head, came: bytes) -> None:
        """Send the 101, which says all that has to be said, and give the connection to the tunnel."""
        context = self.context
        self.keep, self.broken = False, True  # whatever comes of it, no request follows and no linger
        context.status, self._head_sent = fields.status, True
        date = b"" if fields.has_date else write.date_line()
        self.stream.send_all(b"".join((fields.wire, context.id_line, context.extra, date, b"\r\n")), self.write_timeout)
        tunnel.run(self.stream, came)

    # the ends that are none

    def _drain(self) -> None:
        """Read off the little that is left of the request, so that the next one is found behind it."""
        while self.body is not None and self.body.next_piece():
            pass

    def body_left(self) -> bool:
        """Whether some of the request's body was not taken."""
        return self.body is not None and not self.body.complete

    def fail(self, reason: Reason, detail: str) -> None:
        """Give the answer up, for this reason unless there is one already."""
        context = self.context
        if context.reason is OK:
            context.reason, context.detail = reason, detail
        if not context.status:
            context.status = ANSWERS[reason].status
        self._abort()

    def _abort(self) -> None:
        """End the answer so that the client sees it is broken."""
        self.keep = False
        self.broken = True
        # A length or chunks that end early speak for themselves; a body that ends with the close needs a reset.
        if self._head_sent and not self._chunked and self._left is None:
            self.stream.reset_on_close()


def _foreign(status: str, fields: Fields) -> tuple[bytes, bool, int | None]:
    """(wire form, has a Date, declared length) of a plain field list."""
    has_date = False
    declared = None
    for name, value in fields:
        lower = name.lower()
        if lower == "date":
            has_date = True
        elif lower == "content-length":
            declared = int(value)
    return write.status_line(status) + write.fields(fields), has_date, declared


def full_environ(base: Environ, context: RequestContext) -> Environ:
    """The environ as PEP 3333 wants it, fields included. base: what all requests of this server share."""
    environ = base | context.block.environ()
    path = context.path
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if context.block.http11 else "HTTP/1.0"
    environ["QUERY_STRING"] = context.query
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    environ["REQUEST_METHOD"] = context.method
    environ["REMOTE_ADDR"] = context.peer.address
    environ[KEY] = context
    return environ
