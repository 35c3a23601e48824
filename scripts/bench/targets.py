"""What Aegis has to reach, as data, and how a measured value is judged. Pure.

The figures are those of the project's performance targets: at goal is well, between goal and floor needs its profile
explained, beyond the floor is a failure.
"""

from dataclasses import dataclass
from enum import StrEnum

from scripts.bench.stats import Quartiles


class Verdict(StrEnum):
    GOAL = "goal met"
    FLOOR = "within floor"
    MISSED = "MISSED"
    NONE = "no value"


@dataclass(frozen=True, slots=True)
class Target:
    """Bounds of one measure of one row. `higher` says which way is better."""

    row: str
    measure: str
    goal: float
    floor: float
    higher: bool = True

    def judge(self, value: float | None) -> Verdict:
        if value is None:
            return Verdict.NONE
        if self._reaches(value, self.goal):
            return Verdict.GOAL
        return Verdict.FLOOR if self._reaches(value, self.floor) else Verdict.MISSED

    def judge_pairs(self, ratios: Quartiles) -> Verdict:
        """Bounds under 10 % drown in noise: missed only when the better quartile is beyond the bound too."""
        if self._reaches(ratios.median, self.goal):
            return Verdict.GOAL
        better = ratios.upper if self.higher else ratios.lower
        return Verdict.FLOOR if self._reaches(better, self.floor) else Verdict.MISSED

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.higher else value <= bound


def at_most(row: str, measure: str, bound: float) -> Target:
    return Target(row, measure, bound, bound, higher=False)


RATE_GO = "rate x Go"
RATE_NGINX = "rate x nginx"

TARGETS: tuple[Target, ...] = (
    Target("repeated", RATE_GO, 1.5, 1.3),
    Target("repeated", RATE_NGINX, 0.55, 0.45),
    Target("browser", RATE_GO, 1.4, 1.2),
    Target("unique", RATE_GO, 1.2, 1.0),
    Target("unique_both", RATE_GO, 1.0, 0.9),
    Target("1kb", RATE_GO, 1.5, 1.3),
    Target("1mb", RATE_GO, 1.0, 0.95),
    Target("10mb", RATE_GO, 1.0, 0.95),
    Target("upload_10mb", RATE_GO, 1.0, 0.85),
    Target("p99_at_70", "p99 / Go", 1.0, 1.25, higher=False),
    at_most("idle", "KB per connection", 12),
    at_most("idle", "CPU with / without", 1.05),
    at_most("memory_1gb", "download RSS growth MB", 20),
    at_most("memory_1gb", "upload RSS growth MB", 20),
    at_most("backends_300", "CPU 300 / 3", 1.05),
    at_most("tracked_ips", "CPU 65,536 / 1", 1.05),
    at_most("workers", "CPU two / one", 1.05),
    at_most("workers", "busier worker's share", 0.55),
    at_most("workers", "private MB a worker", 30),
    at_most("stalled", "CPU with / without", 1.05),
    at_most("dashboard", "CPU with / without", 1.01),
    at_most("dashboard", "CPU, terminal stalled / without", 1.05),
    at_most("dashboard", "CPU, log pipe stuck / without", 1.05),
    at_most("cold_start", "seconds to first answer", 0.5),
)


def targets_of(row: str) -> list[Target]:
    return [target for target in TARGETS if target.row == row]


def target(row: str, measure: str) -> Target:
    return next(each for each in targets_of(row) if each.measure == measure)
