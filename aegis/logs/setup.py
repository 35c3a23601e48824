"""stdlib logging onto the log writer: events and warnings as lines beside the access lines."""

import logging
from collections.abc import Callable
from typing import Any, Final

from aegis.logs.lines import LONGEST_TEXT, json_line, text_line, timestamp
from aegis.security.masking import masked_text

# What every LogRecord carries; all else came through `extra` and is logged as a field.
_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class LineHandler(logging.Handler):
    """Turns records into lines and queues them. `put` never waits."""

    def __init__(self, put: Callable[[bytes], None], *, text: bool) -> None:
        super().__init__()
        self._put = put
        self._encode = text_line if text else json_line

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        self._put(self._encode(self.entry(record)))

    def entry(self, record: logging.LogRecord) -> dict[str, Any]:
        """time, level, message, then the fields of `extra`; a traceback as one field."""
        entry: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        entry.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info and record.exc_info[0] is not None:
            text = logging.Formatter().formatException(record.exc_info)
            # The end of a traceback says what happened.
            entry["error"] = masked_text(text)[-LONGEST_TEXT * 2 :]
        return entry


class RingHandler(logging.Handler):
    """Shows records to whoever looks at the dashboard, but for those that are events: the ring has them already."""

    def __init__(self, append: Callable[[str, int, dict[str, Any]], None]) -> None:
        """Append takes message, level and fields."""
        super().__init__()
        self._append = append

    def emit(self, record: logging.LogRecord) -> None:
        """Remember one record."""
        if not hasattr(record, "event"):
            self._append(record.getMessage().partition("\n")[0], record.levelno, fields_of(record))


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What came through `extra`; a traceback by its last line."""
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = masked_text(repr(record.exc_info[1]))[:LONGEST_TEXT]
    return fields


def configure(put: Callable[[bytes], None], level: str, *, text: bool) -> LineHandler:
    """Let the `aegis` loggers, and warnings of the libraries, write lines from now on."""
    handler = LineHandler(put, text=text)
    root = logging.getLogger()
    for old in root.handlers[:]:
        if not isinstance(old, RingHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("aegis").setLevel({"warn": "WARNING"}.get(level, level.upper()))
    return handler
