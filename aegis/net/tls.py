"""A stream over TLS. Tries first and waits after: bytes may sit in OpenSSL while the kernel says there are none."""

import contextlib
import os
import socket
import ssl
from typing import Any, Final

from gevent import getcurrent

from aegis.net.deadlines import Deadlines
from aegis.net.stream import PIECE, Stream

READS_IN_A_ROW: Final = 16
"""Of 16 KiB at most: a peer that is faster than we are would else be the only one served."""


class TlsStream(Stream):
    """As Stream, over an SSL socket whose handshake is done. The socket is non-blocking and raises SSLWant… errors."""

    __slots__ = ("_held", "_reads", "_speaks")

    def __init__(self, sock: Any, deadlines: Deadlines) -> None:
        super().__init__(sock, deadlines)
        self.send = self._send
        self._held = sock.pending  # bytes that OpenSSL holds
        self._reads = 0  # since the last wait
        self._speaks = False  # the reader waits until TLS could send

    def read_some(self, size: int) -> bytes:
        """As Stream.read_some."""
        self._reads += 1
        if self._reads > READS_IN_A_ROW and not self._held():
            self._reads = 0
            self.wait_read()  # the kernel has bytes, or there are none
        while True:
            try:
                return self.sock.recv(size)
            except ssl.SSLWantReadError:
                self._reads = 0
                self.wait_read()
            except ssl.SSLWantWriteError:
                self._wait_to_speak()

    def _wait_to_speak(self) -> None:
        """TLS has to send something of its own before it reads on. As the reader: the writer may be waiting as well."""
        self.pause()
        self._speaks = True
        self._writes().start(self._writable)
        self.reader = getcurrent()
        try:
            self._hub.switch()
        finally:
            self._speaks = False
            if self.writer is None and self._write_watcher is not None:
                self._write_watcher.stop()

    def _writable(self) -> None:
        super()._writable()
        reader = self.reader
        if self._speaks and reader is not None:
            self.reader = None
            reader.switch()

    def read_piece(self, most: int = PIECE) -> memoryview:
        """As Stream.read_piece. TLS records hold at most 16 KiB, so a copy is all it takes."""
        return memoryview(self.read_some(most))

    def send_soon(self, data: bytes, stall: float) -> None:
        """At once: TLS may have to read before it can write, which only a greenlet can wait for."""
        self.send_all(data, stall)

    def ask_soon(self, data: bytes, stall: float) -> None:
        """At once, unasked or not: what the kernel holds may be TLS's own."""
        self.send_all(data, stall)

    def receive_now(self, size: int) -> bytes | None:
        """As Stream.receive_now; what TLS says for itself, such as a session ticket, is no byte."""
        try:
            return self.sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def peek(self) -> bytes | None:
        """TLS cannot be peeked: whatever arrives on a connection that owes us nothing makes it unfit."""
        return b""

    def spoke(self) -> bool:
        """TLS cannot be asked: what the kernel holds may be its own."""
        return False

    def end_sending(self) -> None:
        """As Stream.end_sending, but without a farewell of TLS's own.

        OpenSSL's would read on for the peer's, and fail on the data that may still come; SSLSocket.shutdown would
        drop the TLS layer and let us read ciphertext.
        """
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.sock.fileno())) as same:
            same.shutdown(socket.SHUT_WR)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except ssl.SSLWantReadError:  # renegotiation or a key update: read it when the next answer is read
            return 0
