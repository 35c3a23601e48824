"""The invariants: values in, violations out, in words that name the request and what was seen.

`violations` judges the ledger of a round, `left_behind` what a process still holds after it, `growth` a whole run.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.stress.backends import BROKEN as LYING
from tests.stress.ledger import ANSWERED, BROKEN, CLOSED, LEFT, SILENT, Asked, Delivery, Ledger, token_of
from tests.support.contract import check_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPLAYED = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "PUT"})
TUNNEL = 101

LOST_LINES = 1.0
"""Seconds before a kill in which the access line of what had ended may not have been written yet."""

DYING = 0.5
"""Seconds after a kill in which its connections are still there, and what is sent over them is lost."""

LINGER = 0.15
"""Seconds in which no drain ends a connection on which nothing came yet: Aegis waits for 0.2."""


@dataclass(frozen=True)
class Case:
    """All that is known of one request. excused: whoever served it was killed meanwhile, or was told to stop."""

    asked: Asked
    deliveries: Sequence[Delivery]
    lines: Sequence[dict[str, Any]]
    killed: bool = False
    stopping: bool = False


# the rules of one request


def nothing_foreign_was_heard(case: Case) -> Iterator[str]:
    yield from case.asked.faults
    if case.asked.cut and not case.killed:  # to an HTTP/1.0 client the end of a killed process is that of its answer
        yield f"its answer: {case.asked.cut}"
    yield from (f"{each}: {each.fault}" for each in case.deliveries if each.fault)


def it_was_answered_or_broken_off(case: Case) -> Iterator[str]:
    if case.asked.outcome == SILENT:
        yield "neither an answer nor an end came"
    at_once = case.asked.fresh and case.asked.late < LINGER
    swallowed = case.asked.outcome == CLOSED and at_once and not case.lines
    if swallowed and not (case.killed or case.stopping):
        yield "its connection was closed without an answer and without an access line"


def it_has_one_access_line(case: Case) -> Iterator[str]:
    if len(case.lines) > 1:
        yield f"{len(case.lines)} access lines: {_short(case.lines)}"
    accepted = case.asked.outcome in {ANSWERED, BROKEN} or (case.deliveries and case.asked.outcome != LEFT)
    if accepted and not case.lines and not case.killed:
        yield "no access line"


def its_line_says_what_was_heard(case: Case) -> Iterator[str]:
    for line in case.lines:
        if line["reason"] == "internal_error":
            yield f"an internal error: {_short([line])}"
        elif case.asked.outcome == ANSWERED and line["status"] != case.asked.status:
            yield f"another status in the log: {_short([line])}"
        elif (
            case.asked.outcome == BROKEN and line["reason"] == "ok" and case.asked.status != TUNNEL and not case.killed
        ):
            yield f"broken off, and the log calls it whole: {_short([line])}"


def a_refusal_is_the_one_of_its_reason(case: Case) -> Iterator[str]:
    if case.asked.refusal is None:
        return
    for line in case.lines:
        try:
            check_refusal(case.asked.refusal, line["reason"], to_head=case.asked.method == "HEAD")
        except (AssertionError, KeyError) as error:
            yield f"refused as {line['reason']!r}, but {error!r}"


def an_answer_is_that_of_its_last_delivery(case: Case) -> Iterator[str]:
    if not case.asked.delivery:
        return
    last = case.deliveries[-1].number if case.deliveries else "none"
    if case.asked.delivery != last:
        yield f"answered by delivery {case.asked.delivery}, the last one was {last}"


def what_broke_off_does_not_look_whole(case: Case) -> Iterator[str]:
    if case.asked.outcome != ANSWERED or case.asked.refusal is not None or case.asked.method == "HEAD":
        return
    if case.asked.cut and case.killed:
        return
    for each in case.deliveries:
        if each.number == case.asked.delivery and (each.behaviour in LYING or not each.whole):
            yield f"it looks whole, but comes from {each}"


def it_is_delivered_once(case: Case) -> Iterator[str]:
    """Once more only if it is idempotent, without a body, and nothing of an answer was sent to its end."""
    asked, times = case.asked, len(case.deliveries)
    most = 2 if asked.method in REPLAYED and not asked.sent else 1
    told = ", ".join(map(str, case.deliveries))
    if times > most:
        yield f"delivered {times} times, at most {most} is allowed: {told}"
    elif any(each.whole for each in case.deliveries[:-1]):
        yield f"delivered again after it was answered: {told}"


def what_is_malformed_is_refused_here(case: Case) -> Iterator[str]:
    if not case.asked.malformed:
        return
    yield from (f"malformed, and yet it reached a backend: {each}" for each in case.deliveries)
    if case.asked.outcome == ANSWERED and not 400 <= case.asked.status < 500:
        yield "malformed, and yet not refused"


RULES: tuple[Callable[[Case], Iterator[str]], ...] = (
    nothing_foreign_was_heard,
    it_was_answered_or_broken_off,
    it_has_one_access_line,
    its_line_says_what_was_heard,
    a_refusal_is_the_one_of_its_reason,
    an_answer_is_that_of_its_last_delivery,
    what_broke_off_does_not_look_whole,
    it_is_delivered_once,
    what_is_malformed_is_refused_here,
)


def violations(ledger: Ledger) -> list[str]:
    """Of a round, once all of it has come in."""
    deliveries, lines = defaultdict(list), defaultdict(list)
    for each in ledger.deliveries:
        deliveries[each.token].append(each)
    by_id = {asked.request_id: asked.token for asked in ledger.asked.values() if asked.request_id}
    for line in ledger.lines:
        lines[token_of(line["path"]) or by_id.get(line["request_id"], "")].append(line)
    found = list(ledger.faults)
    unknown = deliveries.keys() - ledger.asked.keys()
    found += (f"nobody asked for what a backend was sent as {each!r}: {deliveries[each][0]}" for each in unknown)
    for token, asked in ledger.asked.items():
        case = Case(asked, deliveries[token], lines[token], _killed(ledger, asked), asked.ended > ledger.stopped_at)
        found += (f"{asked}: {words}" for rule in RULES for words in rule(case))
    return found


def _killed(ledger: Ledger, asked: Asked) -> bool:
    return any(asked.began - DYING <= kill <= asked.ended + LOST_LINES for kill in ledger.kills)


def _short(lines: Sequence[dict[str, Any]]) -> str:
    names = ("request_id", "status", "reason", "detail", "bytes_in", "bytes_out", "backend", "retries", "duration_ms")
    return "; ".join(" ".join(f"{name}={line[name]}" for name in names if name in line) for line in lines)


# what is left when nobody asks any more


@dataclass(frozen=True)
class Held:
    """What Aegis holds at one moment. Numbers by name; `rest` is 0 in each of them once all is given back."""

    at: float = 0.0  # when Aegis looked, seconds since the epoch
    in_flight: int = 0
    client_connections: int = 0
    on_backends: dict[str, int] = field(default_factory=dict)  # requests under way, by backend
    pooled: dict[str, int] = field(default_factory=dict)  # open connections, by backend
    at_backends: dict[str, int] = field(default_factory=dict)  # the same as the backends see them
    not_admitted: dict[str, str] = field(default_factory=dict)  # backends that get no traffic, and why
    logs_dropped: int = 0
    processes: int = 0
    greenlets: int = 0
    descriptors: int = 0
    resident: int = 0  # bytes, all processes

    def __str__(self) -> str:
        return f"{self.resident / 1e6:.0f} MB, {self.descriptors} descriptors, {self.greenlets} greenlets"


def left_behind(before: Held, now: Held) -> list[str]:
    """What was not given back, against a moment at which nothing had been asked yet."""
    found = []
    for what, counts in (
        ("requests under way", now.on_backends),
        ("connections in the pool", now.pooled),
        ("connections at the backend", now.at_backends),
    ):
        found += (f"{name}: {count} {what}, but nobody asks" for name, count in counts.items() if count)
    found += (f"{name} is not admitted although it answers: {why}" for name, why in now.not_admitted.items())
    for what, count in (("requests in flight", now.in_flight), ("connections of clients", now.client_connections)):
        if count:
            found.append(f"{count} {what}, but nobody asks")
    for what, was, is_ in (
        ("processes", before.processes, now.processes),
        ("greenlets", before.greenlets, now.greenlets),
        ("descriptors", before.descriptors, now.descriptors),
        ("log lines were dropped", before.logs_dropped, now.logs_dropped),
    ):
        if is_ > was:
            found.append(f"{is_} {what}, at the start it was {was}")
    return found


SETTLED = 3
"""Rounds after which what Aegis remembers within bounds (heads, clients, latencies) is full."""

SLACK = 8 << 20
"""Bytes that a process may grow in the rest of a run: arenas that fragment. A leak of 100 bytes a request is more."""


def growth(resident: Sequence[int], processes: int) -> list[str]:
    """resident: bytes of all processes at the end of each round."""
    rest = resident[SETTLED - 1 :]
    if len(rest) < 2 * SETTLED:
        return []
    first, last = min(rest[:SETTLED]), min(rest[-SETTLED:])
    if last - first <= SLACK * processes:
        return []
    told = " ".join(f"{each / 1e6:.0f}" for each in resident)
    return [f"resident memory grew from {first / 1e6:.0f} to {last / 1e6:.0f} MB: {told}"]
