"""What is wrong with a configuration, said so that a user can put it right."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SHOWN: Final = 80
_USERINFO: Final = re.compile(r"//[^/@]*@")


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One fault. `line` is 0 and `value` is None where there is none to name; `path` is "" for the file as a whole."""

    file: str
    line: int
    path: str
    value: str | None
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = " = ".join(part for part in (self.path, "" if self.value is None else _shown(self.value)) if part)
        return _one_line(": ".join(part for part in (place, subject, self.message) if part))


class ConfigErrors(Exception):  # noqa: N818 - it is a collection of errors
    """All that is wrong with a configuration, in the order of the file. Never empty."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = sorted(errors, key=lambda error: error.line)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def _shown(value: str) -> str:
    # [SECURITY] LogHygiene: a password in a refused url must not reach a terminal, a log or a ticket.
    value = _USERINFO.sub("//***@", value)
    short = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return short if short and not short.isspace() else json.dumps(short)


def _one_line(text: str) -> str:
    # Keys and values come from the file: one error stays one line, and cannot paint the terminal.
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
