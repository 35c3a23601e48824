"""Bytes of heads and chunks toward either side. Pure but for the date, which is kept for a second."""

from email.utils import formatdate
from functools import lru_cache
from time import time

from aegis.reasons import phrase


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode()


def date_line() -> bytes:
    """`Date: …` of now, with its CRLF."""
    return _date_line(int(time()))


@lru_cache(maxsize=1024)
def status_line(status: str) -> bytes:
    """`404 Not Found` → `HTTP/1.1 404 Not Found CRLF`."""
    return f"HTTP/1.1 {status}\r\n".encode("latin-1")


@lru_cache(maxsize=600)
def wsgi_status(status: int) -> str:
    """`404 Not Found` for 404. The phrase is ours: a backend's is no business of the client's."""
    return f"{status} {phrase(status)}"


def fields(pairs: list[tuple[str, str]]) -> bytes:
    """The lines of a WSGI field list. Raises ValueError on a line break inside a name or value."""
    text = "".join([f"{name}: {value}\r\n" for name, value in pairs])
    # [SECURITY] HeaderInjection: a CR or LF inside a value would end our head where an attacker likes.
    if text.count("\r") != len(pairs) or text.count("\n") != len(pairs):
        raise ValueError("a response field holds a line break")
    return text.encode("latin-1")


def chunk(data: bytes | memoryview) -> bytes:
    """One chunk around the data. Never empty: that would end the body."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
