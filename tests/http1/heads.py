"""Request heads as bytes, and what Aegis makes of them."""

from __future__ import annotations

import pytest

from aegis.http1.request_head import RequestHeads
from aegis.reasons import Refused


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
    return [tuple(line.decode("latin-1").split(": ", 1)) for line in lines.split(b"\r\n")[:-1]]


def forwarded(*fields, trusted=False, **parts) -> list[tuple[str, str]]:
    """What of the client's own fields goes on to the backend, but for Host, which always does."""
    parsed = block(*fields, **parts)
    ours = {"host", "x-forwarded-host"}
    lines = parsed.forward_trusted if trusted else parsed.forward
    return [(name, value) for name, value in pairs(lines) if name.lower() not in ours]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
