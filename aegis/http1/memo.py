"""A bounded memory of parsed heads: the bytes of a head → what they mean.

Parsing is a pure function of the head's bytes, so a hit equals a parse. Nothing that depends on peer, time,
configuration or target may be inside, and what comes out is shared: it must be immutable.
"""

from typing import Final, Generic, TypeVar

V = TypeVar("V")

GENERATION: Final = 512  # entries
LARGEST: Final = 2048  # bytes of a head worth keeping
DOORS: Final = 4096


class Memo(Generic[V]):
    """Two generations of plain dicts behind a doorkeeper.

    When `new` is full it becomes `old`: least recently used in effect, without bookkeeping on a hit. The doorkeeper
    lets a head in on its second sighting only: heads that never repeat would otherwise fill the memory, feed the
    garbage collector and cost a p99 of 20 ms.
    """

    __slots__ = ("_doors", "new", "old")

    def __init__(self) -> None:
        self.new: dict[bytes, V] = {}
        self.old: dict[bytes, V] = {}
        self._doors = [0] * DOORS

    def __len__(self) -> int:
        return len(self.new) + len(self.old)

    def __repr__(self) -> str:
        return f"<Memo {len(self.new)} new {len(self.old)} old>"

    def get(self, key: bytes) -> V | None:
        """What was kept for these bytes."""
        value = self.new.get(key)
        if value is None and self.old:
            value = self.old.get(key)
            if value is not None:
                self._keep(key, value)
        return value

    def offer(self, key: bytes, value: V) -> None:
        """Keep the value if the same bytes were offered not long ago."""
        if len(key) > LARGEST:
            return
        mark = hash(key)
        door = mark % DOORS
        if self._doors[door] == mark:
            self._keep(key, value)
        else:
            self._doors[door] = mark

    def rotate(self) -> None:
        """Drop what was not used since the last but one call. Once a minute: heads hold cookies."""
        self.old, self.new = self.new, {}

    def _keep(self, key: bytes, value: V) -> None:
        if len(self.new) >= GENERATION:
            self.rotate()
        self.new[key] = value
