"""The tables of measured figures in README and docs/performance.md, from the published run of the benchmark."""

from collections.abc import Mapping
from typing import Any

from scripts.bench import published
from scripts.bench.peers.table import PEERS
from scripts.bench.report import DISTURBED

TITLES = {
    "aegis": "Aegis",
    "aegis_interpreted": "Aegis, not compiled",
    "go": "Go `ReverseProxy`",
    "go_pooled": "Go with a buffer pool",
    "caddy": "Caddy",
    "haproxy": "HAProxy",
    "nginx": "nginx",
    "aiohttp": "aiohttp",
}
SHOWN = ("aegis", *(peer.name for peer in PEERS))
LOADED = ("repeated", "browser", "unique", "unique_both", "1kb", "1mb", "10mb", "upload_10mb")
MILLI = 1000.0


def place() -> str:
    """Where and with what it was measured, in one sentence."""
    machine = published.read()["machine"]
    programs = {"Python": machine["python"], **machine["versions"]}
    versions = ", ".join(f"{name} {version}" for name, version in programs.items())
    return (
        f"Measured on {machine['date'][:10]} at commit {machine['commit']}: "
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {versions}."
    )


def rates(names: tuple[str, ...] = SHOWN) -> str:
    """Requests per second and processor time per request of each contestant."""
    found = published.read()["rows"]
    rows = [found[name] for name in LOADED if name in found]
    present = [name for name in names if any(name in row["medians"] for row in rows)]
    lines = [_line(["", *(TITLES[name] for name in present)]), _line(["---"] * (len(present) + 1))]
    for row in rows:
        cells = [_figure(row["medians"].get(name)) for name in present]
        lines.append(_line([row["title"] + _disturbed(row), *cells]))
    return "\n".join(lines)


def figures() -> str:
    return f"{place()}\n\n{rates()}"


def readme() -> str:
    """As `figures`, for those who choose a proxy: without aiohttp, and with what is not at its goal in a sentence."""
    table = rates(tuple(name for name in SHOWN if name != "aiohttp"))
    return f"{place()}\n\n{table}\n\n{below()}"


def below() -> str:
    """What is not at its goal, missed or not, in one sentence."""
    short = [
        f"`{row['name']}` {finding['measure']} {_value(finding)} (goal {finding['target']['goal']:g})"
        for row in published.read()["rows"].values()
        for finding in row["findings"]
        if finding["target"] is not None and finding["verdict"] != "goal met"
    ]
    return f"Below what we aim at: {'; '.join(short)}." if short else "All of it is at or above what we aim at."


def verdicts() -> str:
    """Every measure that has a target, with what was reached; the missed ones first."""
    order = {"MISSED": 0, "within floor": 1, "goal met": 2, "no value": 3}
    found = []
    for row in published.read()["rows"].values():
        for finding in row["findings"]:
            target = finding["target"]
            if target is None:
                continue
            sign = "≥" if target["higher"] else "≤"
            cells = [
                f"`{row['name']}`{_disturbed(row)}",
                finding["measure"],
                _value(finding),
                f"{sign} {target['goal']:g}",
                f"{sign} {target['floor']:g}",
                finding["verdict"],
            ]
            found.append((order[finding["verdict"]], _line(cells)))
    head = [_line(["row", "measure", "value (quartiles)", "goal", "floor", "verdict"]), _line(["---"] * 6)]
    return "\n".join([*head, *(line for _, line in sorted(found, key=lambda each: each[0]))])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(medians: Mapping[str, Any] | None) -> str:
    if medians is None:
        return "–"
    cpu = medians["cpu_us"]
    time = f"{cpu / MILLI:.1f} ms" if cpu >= MILLI else f"{cpu:.0f} µs"
    return f"{medians['rate']:,.0f} · {time}"


def _value(finding: Mapping[str, Any]) -> str:
    quartiles = finding["quartiles"]
    if quartiles is not None:
        return f"{quartiles['median']:.3f} ({quartiles['lower']:.3f}–{quartiles['upper']:.3f})"
    return "–" if finding["value"] is None else f"{finding['value']:.2f}"


def _disturbed(row: Mapping[str, Any]) -> str:
    return f" (others took up to {row['disturbance']:.0%} of the core)" if row["disturbance"] > DISTURBED else ""
