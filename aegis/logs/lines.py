"""What a log line looks like, JSON or text, and its clock."""

import json
from collections.abc import Mapping
from functools import lru_cache
from time import gmtime, strftime
from typing import Any, Final

import msgspec

LONGEST_TEXT: Final = 1200
MARK: Final = "...cut"

_encoder = msgspec.json.Encoder(enc_hook=str)
_encode = _encoder.encode
json_lines = _encoder.encode_lines
"""Each entry as one JSON object and a LF. Raises UnicodeEncodeError where one holds a surrogate."""


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """One request as it is logged. No query, no field values, no full address."""

    time: str
    level: str
    message: str
    request_id: str
    client: str
    method: str
    host: str
    path: str
    protocol: str
    status: int
    reason: str
    bytes_in: int
    bytes_out: int
    duration_ms: float
    backend: str | None
    backend_ms: float | None
    retries: int
    detail: str = ""


_last_millisecond = 0
_last_text = ""


def timestamp(seconds: float) -> str:
    """Seconds since the epoch in RFC 3339, UTC, with milliseconds. Remembered: a busy millisecond has many lines."""
    global _last_millisecond, _last_text
    millisecond = int(seconds * 1000)
    if millisecond != _last_millisecond:
        second, rest = divmod(millisecond, 1000)
        _last_millisecond, _last_text = millisecond, f"{_second(second)}.{rest:03d}Z"
    return _last_text


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


def cut(text: str) -> str:
    """The text as it fits into a line with others: a pipe takes 4,096 bytes at once, and a line must stay whole."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + MARK


def json_line(entry: Any) -> bytes:
    """One JSON object and a LF. Control characters and surrogates leave escaped."""
    try:
        return _encode(entry) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(entry)).encode() + b"\n"


def text_line(entry: Mapping[str, Any]) -> bytes:
    """`time LEVEL message key=value …`; values with spaces, quotes or control characters are JSON strings."""
    rest = dict(entry)
    # A message that is no single line is written with escapes: an entry is one line, whatever it quotes.
    message = json.dumps(str(rest.pop("message", "")), ensure_ascii=False)[1:-1]
    head = [str(rest.pop("time", "")), str(rest.pop("level", "")), message.replace('\\"', '"')]
    pairs = [f"{key}={_value(value)}" for key, value in rest.items()]
    return " ".join([*head, *pairs]).encode("utf-8", "backslashreplace") + b"\n"


def _value(value: Any) -> str:
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "=')
    return text if text and plain else json.dumps(text)
