"""Field sections through llhttp: raw bytes → names and values, or the words why not.

llhttp judges the syntax of the fields alone. It always sees a constant first line, so that neither method, target
nor status can change its mind, and never sees a body. What it lets pass is refused by the rules of this room.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

FRAMING_WORDS: Final = ("Content-Length", "Transfer-Encoding", "chunked")

Fields = tuple[list[bytes], list[bytes]]
"""Names and values in step, in the order and case in which they came; values may have trailing blanks."""


class FieldSyntaxError(Exception):
    """llhttp refused the section. `framing` tells whether it was about the length of the body."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.framing = any(word in words for word in FRAMING_WORDS)


class _Collector:
    __slots__ = ("names", "values")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.values: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.append(name)
        self.values.append(value)


def request_fields(version_and_fields: bytes) -> Fields:
    """Parse `HTTP/1.x CRLF *(field CRLF)`, without the empty line. Raises FieldSyntaxError."""
    head = b"GET / %b\r\n" % version_and_fields
    return _parse(HttpRequestParser, head)


def response_fields(version: bytes, fields: bytes) -> Fields:
    """Parse `*(field CRLF)` of a response of that version. Raises FieldSyntaxError."""
    return _parse(HttpResponseParser, b"%b 200 OK\r\n%b\r\n" % (version, fields))


def _parse(parser: "type[HttpRequestParser | HttpResponseParser]", head: bytes) -> Fields:
    collector = _Collector()
    try:
        parser(collector).feed_data(head)
    except HttpParserUpgrade:
        pass  # raised at the end of a head that asks for an upgrade: the fields are all there
    except HttpParserError as error:
        raise FieldSyntaxError(str(error)) from error
    return collector.names, collector.values
