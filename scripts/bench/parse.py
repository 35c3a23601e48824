"""What the load programs print, as values. Pure."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

MS_PER_UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
SECONDS_PER_UNIT = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Load:
    """One run of a load program. `errors` is empty when every answer was a 2xx and every socket lived."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def wrk(text: str) -> Load:
    """The output of `wrk --latency`; raises ValueError when it is something else."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h),", text)
    if total is None:
        raise ValueError(f"not the output of wrk: {text.strip()[:200]!r}")
    # Requests/sec knows the time better than "in 5.00s" does.
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    seconds = float(total[2]) * SECONDS_PER_UNIT[total[3]]
    if rate is not None and float(rate[1]) > 0:
        seconds = int(total[1]) / float(rate[1])
    return Load(int(total[1]), seconds, _percentile(text, 50), _percentile(text, 99), tuple(_wrk_errors(text)))


def _percentile(text: str, rank: int) -> float:
    found = re.search(rf"^\s*{rank}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(found[1]) * MS_PER_UNIT[found[2]] if found else 0.0


def _wrk_errors(text: str) -> Iterable[str]:
    # wrk counts 4xx and 5xx only; no contestant answers 3xx here, and each was checked before its row.
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        yield f"{found[1]} answers that are not 2xx"
    if found := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        kinds = zip(("connect", "read", "write", "timeout"), found.groups(), strict=True)
        yield from (f"{count} {kind} errors" for kind, count in kinds if count != "0")


def client(text: str) -> Load:
    """The JSON line of the Go client."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not the output of the client: {text.strip()[:200]!r}") from error
    errors = tuple(f"{count} x {what}" for what, count in values["errors"].items())
    return Load(values["requests"], values["seconds"], values["p50_ms"], values["p99_ms"], errors)


def h2load(summary: str, log_lines: Iterable[str]) -> Load:
    """The summary of h2load and its --log-file (start in µs, status, duration in µs; tabs between).

    The summary knows no percentiles, so they come from the log.
    """
    total = re.search(r"requests: (\d+) total, .* (\d+) failed, (\d+) errored, (\d+) timeout", summary)
    took = re.search(r"finished in ([\d.]+)(us|ms|s|m)", summary)
    if total is None or took is None:
        raise ValueError(f"not the output of h2load: {summary.strip()[:200]!r}")
    durations, bad = [], 0
    for line in log_lines:
        _, status, duration = line.split("\t")[:3]
        bad += not 200 <= int(status) < 300
        durations.append(int(duration) / 1000)
    durations.sort()
    errors = [
        f"{count} {kind}"
        for kind, count in zip(("failed", "errored", "timeout"), total.groups()[1:], strict=True)
        if count != "0"
    ]
    if bad:
        errors.append(f"{bad} answers that are not 2xx")
    seconds = float(took[1]) * SECONDS_PER_UNIT[took[2]]
    return Load(len(durations), seconds, nearest_rank(durations, 0.50), nearest_rank(durations, 0.99), tuple(errors))


def nearest_rank(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0
