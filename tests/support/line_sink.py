"""A list of lines where the product has its log writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineSink:
    """Takes lines as the writer does, and asks for those that are not made yet whenever somebody looks."""

    def __init__(self) -> None:
        self.before_flush: Callable[[], None] = list
        self._lines: list[bytes] = []

    def put(self, lines, count=1):
        assert lines.count(b"\n") == count
        self._lines += lines.splitlines(keepends=True)

    @property
    def lines(self):
        self.before_flush()
        return self._lines
