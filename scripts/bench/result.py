"""What rows hand to the report. Pure."""

from dataclasses import dataclass, field
from statistics import median

from scripts.bench.stats import Quartiles, ratio_of_rounds
from scripts.bench.targets import Target, Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """One contestant in one round."""

    rate: float  # requests per second
    p50_ms: float
    p99_ms: float
    cpu_us: float  # CPU of the proxy and its children, per request
    rss_mb: float
    foreign: float = 0.0  # share of the proxy's core that others used meanwhile
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One measured value that has a target, or is worth a line without one."""

    measure: str
    value: float | None
    target: Target | None = None
    quartiles: Quartiles | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.target is None:
            return Verdict.NONE
        if self.quartiles is not None:
            return self.target.judge_pairs(self.quartiles)
        return self.target.judge(self.value)


@dataclass(slots=True)
class RowResult:
    """A row: samples of each contestant by round, findings, and what went wrong."""

    name: str
    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # any of them makes the row invalid

    def add(self, contestant: str, sample: Sample) -> None:
        self.samples.setdefault(contestant, []).append(sample)
        for error in sample.errors:
            self.problems.append(f"{contestant}: {error}")

    @property
    def valid(self) -> bool:
        return not self.problems

    @property
    def disturbance(self) -> float:
        """The worst share of the proxy's core that others took during one measurement."""
        return max((each.foreign for samples in self.samples.values() for each in samples), default=0.0)

    def middle(self, contestant: str, measure: str) -> float | None:
        samples = self.samples.get(contestant)
        return median(getattr(each, measure) for each in samples) if samples else None

    def ratio(self, ours: str, theirs: str, measure: str) -> float | None:
        """Median of the per-round ratios of a measure."""
        pairs = [[getattr(each, measure) for each in self.samples.get(name, [])] for name in (ours, theirs)]
        return ratio_of_rounds(*pairs)
