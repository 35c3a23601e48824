"""Request heads as bytes, and what Aegis makes of them."""

from __future__ import annotations

import pytest

from aegis.http1.request_head import RequestHeads
from aegis.reasons import Refused
from tests.proxy.toward_backend import of_the_client, request_head


def head(*fields: str | bytes, line: str | bytes = "GET / HTTP/1.1", host: str | bytes | None = "a.test") -> bytes:
    """A head without its empty line; `host` None leaves the Host field out."""
    lines = [line, *([] if host is None else [b"Host: " + _bytes(host)]), *fields]
    return b"".join(_bytes(each) + b"\r\n" for each in lines)


def parse(*fields, **parts):
    return RequestHeads().parse(head(*fields, **parts))


def block(*fields, **parts):
    return parse(*fields, **parts)[2]


def refused(*fields, **parts):
    """The reason why this head is refused."""
    with pytest.raises(Refused) as caught:
        parse(*fields, **parts)
    return caught.value.reason.value


def pairs(lines: bytes) -> list[tuple[str, str]]:
    """Field lines → (name, value) in their order."""
    assert lines.endswith(b"\r\n") or not lines
    split = [line.decode("latin-1").partition(":") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value.strip(" \t")) for name, _, value in split]


def forwarded(*fields, **parts) -> list[tuple[str, str]]:
    """What of the client's own fields goes on to the backend, but for Host, which always does."""
    return [pair for pair in forwarded_lines(*fields, **parts) if pair[0].lower() != "host"]


def forwarded_lines(*fields, trusted=False, **parts) -> list[tuple[str, str]]:
    """The same with Host."""
    networks = ("0.0.0.0/0",) if trusted else ()
    _, found = request_head(head(*fields, **parts), trusted=networks)
    return [(name.decode(), value.decode("latin-1")) for name, value in of_the_client(found)]


def environ(*fields, **parts) -> dict[str, str]:
    """The fields as WSGI names them."""
    found = block(*fields, **parts).environ
    return found() if callable(found) else found


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
