"""The run as tables for people and as JSON for programs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scripts.bench.result import Finding, RowResult
from scripts.bench.targets import Verdict

HEADINGS = ("contestant", "req/s", "p50 ms", "p99 ms", "CPU us/req", "RSS MB")
MEASURES = (("rate", ",.0f"), ("p50_ms", ".2f"), ("p99_ms", ".2f"), ("cpu_us", ",.1f"), ("rss_mb", ".0f"))
DISTURBED = 0.05  # from here on rates say more about the neighbours than about the contestants
YARDSTICKS = ("go", "go_pooled", "nginx")


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up in a terminal too; the first column is text, the others figures."""
    widths = [max(len(line[column]) for line in [headings, *rows]) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in others) + " |"

    rule = f"| {'-' * widths[0]} | " + " | ".join("-" * (width - 1) + ":" for width in widths[1:]) + " |"
    return "\n".join([line(headings), rule, *map(line, rows)])


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def contestants(row: RowResult) -> str:
    """Rate (more is better) and CPU (less is better) of each, also as multiples of Go's and nginx's."""
    yardsticks = [name for name in YARDSTICKS if name in row.samples]
    headings = [*HEADINGS, *(f"{what} x {name}" for name in yardsticks for what in ("rate", "CPU"))]
    lines = []
    for name in row.samples:
        cells = [name, *(number(row.middle(name, measure), form) for measure, form in MEASURES)]
        cells += [number(row.ratio(name, peer, what), ".2f") for peer in yardsticks for what in ("rate", "cpu_us")]
        lines.append(cells)
    return markdown(headings, lines)


def section(row: RowResult) -> str:
    parts = [f"## {row.name}: {row.title}"]
    if row.samples:
        parts.append(contestants(row))
    parts += [finding_line(each) for each in row.findings if each.target is None]
    parts += [f"- {note}" for note in row.notes]
    if row.disturbance > DISTURBED:
        parts.append(f"- disturbed: others took up to {row.disturbance:.0%} of the proxy's core; trust CPU, not rates")
    parts += [f"- INVALID: {problem}" for problem in dict.fromkeys(row.problems)]
    return "\n".join(parts)


def finding_line(finding: Finding) -> str:
    value = str(finding.quartiles) if finding.quartiles else number(finding.value, ",.2f")
    return f"- {finding.measure}: {value}"


def verdicts(rows: Sequence[RowResult]) -> str:
    lines = []
    for row in rows:
        for each in row.findings:
            if each.target is None:
                continue
            sign = ">=" if each.target.higher else "<="
            value = str(each.quartiles) if each.quartiles else number(each.value, ".2f")
            verdict = each.verdict if row.valid or each.verdict is Verdict.NONE else "INVALID"
            cells = (row.name, each.measure, value, f"{sign} {each.target.goal:g}", f"{sign} {each.target.floor:g}")
            lines.append((*cells, str(verdict)))
    return markdown(("row", "measure", "value (quartiles)", "goal", "floor", "verdict"), lines)


def place(machine: Mapping[str, Any]) -> str:
    versions = {"python": machine["python"], **machine["versions"], "commit": machine["commit"]}
    where = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"
    return f"{where}, load {machine['load_average']:.1f}\n" + ", ".join(f"{name} {v}" for name, v in versions.items())


def text(rows: Sequence[RowResult], machine: Mapping[str, Any], absent: Sequence[str]) -> str:
    parts = [
        f"# Benchmark of {machine['date']}",
        place(machine),
        *(section(row) for row in rows),
    ]
    if any(each.target for row in rows for each in row.findings):
        parts.append("## Targets\n" + verdicts(rows))
    if absent:
        parts.append("## Left out\n" + "\n".join(f"- {each}" for each in absent))
    return "\n\n".join(parts)


def as_json(rows: Sequence[RowResult], machine: Mapping[str, Any], absent: Sequence[str]) -> dict[str, Any]:
    return {"machine": machine, "left_out": list(absent), "rows": [row_as_json(row) for row in rows]}


def row_as_json(row: RowResult) -> dict[str, Any]:
    out = asdict(row)
    out["valid"] = row.valid
    out["medians"] = {
        name: {measure: row.middle(name, measure) for measure, _ in MEASURES}
        | {f"{what}_x_{peer}": row.ratio(name, peer, what) for peer in YARDSTICKS for what in ("rate", "cpu_us")}
        for name in row.samples
    }
    for plain, finding in zip(out["findings"], row.findings, strict=True):
        plain["verdict"] = str(finding.verdict)
    return out
