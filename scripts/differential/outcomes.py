"""One build's outcomes, a line each: the child of `scripts.differential`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from aegis.version import is_compiled
from scripts.differential import messages, sequences

Subject = Callable[[Random], Iterator[tuple[str, Callable[[], Any]]]]
MESSAGES = 10
SUBJECTS: dict[str, Subject] = messages.SUBJECTS | sequences.SUBJECTS


def told(call: Callable[[], Any]) -> str:
    """What came of a call: the result, or type, words and attributes of the exception. Not its cause: mypyc passes over
    the `from` of a raise, so that only the context tells.
    """
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        extra = {name: getattr(error, name) for name in ("reason", "detail", "replay") if hasattr(error, name)}
        return f"{type(error).__module__}.{type(error).__name__}: {error} {error.args!r} {extra}"


def main() -> None:
    logging.disable()
    seed, rounds, *names = sys.argv[1:]
    print("compiled" if is_compiled() else "interpreted")
    for name in names or SUBJECTS:
        random = Random(f"{seed} {name}")
        # A round of a sequence is many calls, one of messages a few.
        for number in range(int(rounds) * (MESSAGES if name in messages.SUBJECTS else 1)):
            for words, call in SUBJECTS[name](random):
                print(name, number, words, told(call), sep="\t")


if __name__ == "__main__":
    main()
