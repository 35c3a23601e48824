"""`make coverage`: the branches of the pure rooms that their own tests take. Fails where a module has under 95 %.

Pure rooms decide by values alone, so their tests can reach every branch; the others wait for sockets, signals and
processes, and are shown by what they do. The tests that measure seconds and bytes stay out: a tracer changes both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAST = 95.0
"""Per cent of a module's branches."""

POOL = "balancer least_connections peak_ewma breaker health warmup backends policies repin"
RATELIMIT = "bucket limiter decide ticks record comparison layer replay"
PURE = [
    "aegis/http1/*",
    "aegis/security/*",
    "aegis/config/*",
    *(f"aegis/pool/{name}.py" for name in POOL.split()),
    *(f"aegis/ratelimit/{name}.py" for name in RATELIMIT.split()),
]
TESTS = [f"tests/{room}" for room in ("http1", "security", "config", "pool", "ratelimit")]
MEASURING = "not costs_at_most and not cost_a_pick and not makes_no_new_client_slow"


def measure() -> int:
    """Run the tests under coverage; their exit code."""
    run = [sys.executable, "-m", "gevent.monkey", "--module", "pytest", "-q", *TESTS, "-k", MEASURING]
    return subprocess.run([*run, "--cov", "--cov-report="], cwd=ROOT, check=False).returncode


def found() -> dict[str, tuple[int, int]]:
    """Module → (branches, those taken)."""
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-", f"--include={','.join(PURE)}"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    summaries = {name: each["summary"] for name, each in json.loads(told)["files"].items()}
    return {name: (each["num_branches"], each["covered_branches"]) for name, each in sorted(summaries.items())}


def table(modules: dict[str, tuple[int, int]]) -> list[str]:
    """A line for each module that has branches, those under the least marked, and the sum."""
    rows = [*modules.items(), ("all", tuple(map(sum, zip(*modules.values(), strict=True))))]
    return [
        f"{name:<36} {taken:>5} of {branches:>5} branches {percent(branches, taken):6.1f} %"
        + (" under 95 %" if percent(branches, taken) < LEAST else "")
        for name, (branches, taken) in rows
        if branches
    ]


def percent(branches: int, taken: int) -> float:
    return 100 * taken / branches if branches else 100.0


def main() -> int:
    failed = measure()
    modules = found()
    print("\n".join(table(modules)))
    return failed or int(any(percent(*each) < LEAST for each in modules.values()))


if __name__ == "__main__":
    os.environ["COVERAGE_FILE"] = str(ROOT / ".coverage")
    sys.exit(main())
