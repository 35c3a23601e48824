"""How long a body is: RFC 9112 §6.3, made stricter. Pure.

Decided here from the fields, never by llhttp, which skips the body of any message that asks for an upgrade.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

DIGITS: Final = re.compile(rb"[0-9]{1,19}")
NO_BODY_STATUSES: Final = frozenset({204, 304})


class Framing(NamedTuple):
    """`length` in bytes when declared; `chunked`; neither = none for a request, until the close for a response."""

    length: int | None = None
    chunked: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a byte of body is to come, as far as the head can tell."""
        return self.chunked or bool(self.length)


NO_BODY: Final = Framing()
CHUNKED: Final = Framing(chunked=True)


class FramingError(ValueError):
    """The fields do not say in one way how long the body is."""


def decide(lengths: Sequence[bytes], codings: Sequence[bytes], *, http11: bool) -> Framing:
    """The framing that Content-Length and Transfer-Encoding values declare. Raises FramingError.

    [SECURITY] Framing: whatever two parsers could read differently is refused: a second length even if equal, a
    length beside a coding, any coding but exactly one `chunked`, a coding on HTTP/1.0 (RFC 9112 §6.1, §6.3).
    """
    if codings:
        if lengths:
            raise FramingError("Content-Length beside Transfer-Encoding")
        if not http11:
            raise FramingError("Transfer-Encoding on HTTP/1.0")
        if len(codings) != 1 or codings[0].strip(b" \t").lower() != b"chunked":
            raise FramingError("a Transfer-Encoding that is not exactly one chunked")
        return CHUNKED
    if not lengths:
        return NO_BODY
    digits = lengths[0].strip(b" \t")
    if len(lengths) != 1 or not DIGITS.fullmatch(digits):
        raise FramingError("a Content-Length that is not one decimal number")
    return Framing(length=int(digits))
