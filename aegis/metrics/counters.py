"""What is counted since the start: plain numbers without locks, bumped as things happen and read when somebody looks.

Names, labels and text formats are the exposition's business.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from aegis.context import RequestContext
from aegis.metrics.histogram import BOUNDS, Histogram
from aegis.reasons import Reason

OTHER: Final = "other"
"""Stands for every method that is not allowed: those are the client's to invent, and would each be a series."""

Key = tuple[int, str, str]
"""(status, method or `other`, reason)."""

GONE: Final = 499
TIMEOUT: Final = 408
TUNNEL: Final = 101

# With a 408 these are refusals, nothing broke off: no response byte had gone out.
_SLOW: Final = frozenset({Reason.CLIENT_SLOW, Reason.BODY_TIMEOUT})


def _nothing() -> None:
    pass


class Counters:
    """`ended` is called once for every exchange and takes 0.3 µs; all else is rare, and bumped by whoever does it.

    before_read: called before anything about requests is told, so that whoever counts them in batches brings the rest.
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self.before_read: Callable[[], None] = _nothing
        self._durations = Histogram()
        self._retries = 0
        self.decisions = Counter[tuple[str, str]]()  # of the adaptive loop: (action, code)
        self.reloads = Counter[str](applied=0, failed=0)
        self.frames_skipped = 0  # of the dashboard
        self._methods = frozenset(methods)
        self._totals: dict[Key, list[int]] = {}
        self._cells: dict[Key, list[int]] = {}  # the same cells by what a request says of itself: one look-up each

    def __repr__(self) -> str:
        return f"<Counters {self.total} requests>"

    def reconfigure(self, methods: Iterable[str]) -> None:
        """Go on with other `allowed_methods`. What was counted stays as it was counted."""
        self._methods = frozenset(methods)
        self._cells = {}

    def ended(self, context: RequestContext, seconds: float) -> None:
        """Count a finished exchange. seconds: from its head to its end."""
        try:
            self._cells[context.status, context.method, context.reason][0] += 1
        except KeyError:
            self._cell(context.status, context.method, context.reason)[0] += 1
            if context.status == TUNNEL:
                return  # it lasts as long as its sides like: no duration of a request
        durations = self._durations
        durations.buckets[bisect_left(BOUNDS, seconds)] += 1
        durations.seconds += seconds
        if context.attempts > 1:
            self._retries += context.attempts - 1

    def _cell(self, status: int, method: str, reason: str) -> list[int]:
        known = method if method in self._methods else OTHER
        cell = self._totals.setdefault((status, known, reason), [0])
        if known is method and status != TUNNEL:
            self._cells[status, method, reason] = cell
        return cell

    def absorb(self, requests: Iterable[tuple[int, str, str, int]], durations: Histogram, retries: int) -> None:
        """Count what other counters counted: (status, method, reason, how often), and so on."""
        for status, method, reason, count in requests:
            self._totals.setdefault((status, method, reason), [0])[0] += count
        self._durations.add(durations)
        self._retries += retries

    # what was counted

    @property
    def durations(self) -> Histogram:
        """How long exchanges took, tunnels apart."""
        self.before_read()
        return self._durations

    @property
    def retries(self) -> int:
        """Attempts after the first."""
        self.before_read()
        return self._retries

    @property
    def requests(self) -> dict[Key, int]:
        """How often each combination was seen."""
        self.before_read()
        return {key: cell[0] for key, cell in self._totals.items()}

    @property
    def total(self) -> int:
        """All requests."""
        self.before_read()
        return sum(cell[0] for cell in self._totals.values())

    def statuses(self) -> dict[str, int]:
        """Requests by class, `1xx` to `5xx`; 499, which nobody was sent, stands apart."""
        found = dict.fromkeys(("1xx", "2xx", "3xx", "4xx", "499", "5xx"), 0)
        for (status, _, _), count in self.requests.items():
            found["499" if status == GONE else f"{status // 100}xx"] += count
        return found

    def reasons(self) -> dict[str, int]:
        """Requests by reason, those that were seen."""
        found = Counter[str]()
        for (_, _, reason), count in self.requests.items():
            found[str(reason)] += count
        return dict(found)

    def aborted(self) -> dict[str, int]:
        """Messages that broke off, by the side that broke them off."""
        found = {"client": 0, "backend": 0}
        for (status, _, reason), count in self.requests.items():
            if reason == Reason.BACKEND_ABORTED:
                found["backend"] += count
            elif reason == Reason.CLIENT_GONE or (reason in _SLOW and status != TIMEOUT):
                found["client"] += count
        return found
