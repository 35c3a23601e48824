"""Field sections through llhttp: raw bytes → (name, value) pairs, or the words why not.

llhttp judges the syntax of the fields alone. It always sees a constant first line, so that neither method, target
nor status can change its mind, and never sees a body. What it lets pass is refused by the rules of this room.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

RawFields = list[tuple[bytes, bytes]]

FRAMING_WORDS: Final = ("Content-Length", "Transfer-Encoding", "chunked")


class FieldSyntaxError(Exception):
    """llhttp refused the section. `framing` tells whether it was about the length of the body."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.framing = any(word in words for word in FRAMING_WORDS)


class _Collector:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: RawFields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def request_fields(version_and_fields: bytes) -> RawFields:
    """Parse `HTTP/1.x CRLF *(field CRLF)`, without the empty line. Raises FieldSyntaxError."""
    return _parse(HttpRequestParser, b"GET / %b\r\n" % version_and_fields)


def response_fields(version: bytes, fields: bytes) -> RawFields:
    """Parse `*(field CRLF)` of a response of that version. Raises FieldSyntaxError."""
    return _parse(HttpResponseParser, b"%b 200 OK\r\n%b\r\n" % (version, fields))


def _parse(parser: "type[HttpRequestParser | HttpResponseParser]", head: bytes) -> RawFields:
    collector = _Collector()
    try:
        parser(collector).feed_data(head)
    except HttpParserUpgrade:
        pass  # raised at the end of a head that asks for an upgrade: the fields are all there
    except HttpParserError as error:
        raise FieldSyntaxError(str(error)) from error
    return collector.fields
