"""`python -m scripts.bench`: Aegis against other proxies, one core each. See --help.

Exit codes: 0 all rows valid; 1 a row is invalid; 2 usage, or a program without which nothing can be measured.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.bench import published, report, tools
from scripts.bench.bench import Bench, Plan
from scripts.bench.children import Children, StartError, cores
from scripts.bench.load import LoadError
from scripts.bench.peers.base import Contestant
from scripts.bench.peers.table import AEGIS, PEERS, SHORT_PEERS
from scripts.bench.result import RowResult
from scripts.bench.rows.base import Row
from scripts.bench.rows.table import ROWS, SHORT_ROWS

ESSENTIAL = ("nginx", "wrk", "taskset")  # the backend, the load, and what keeps them apart from the proxy
RESULTS = tools.ROOT / "bench-results"


def names(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        chosen = [each for each in text.split(",") if each]
        if unknown := [each for each in chosen if each not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return read


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    rows, peers = [row.name for row in ROWS], [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description="Aegis against other proxies.")
    parser.add_argument("--long", action="store_true", help="all rows and peers (short: at most 4 minutes)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each contestant (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one (default 4, long 6)")
    parser.add_argument("--rows", type=names(rows), help=f"comma separated, of {', '.join(rows)}")
    parser.add_argument("--peers", type=names(peers), help=f"beside Aegis; comma separated, of {', '.join(peers)}")
    parser.add_argument("--json", type=Path, help="where to write the figures (default bench-results/DATE.json)")
    parser.add_argument("--publish", action="store_true", help="let docs/performance.json have these rows too")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    args.rows = args.rows or (rows if args.long else SHORT_ROWS)
    args.peers = (peers if args.long else SHORT_PEERS) if args.peers is None else args.peers
    args.seconds = args.seconds or (6 if args.long else 4)
    return args


def choose(wanted: Sequence[str], absent: list[str]) -> list[Contestant]:
    """Aegis and the wanted peers; what cannot take part is told in `absent`."""
    chosen = []
    for contestant in (AEGIS, *(peer for peer in PEERS if peer.name in wanted)):
        if (obstacle := contestant.obstacle()) is None:
            chosen.append(contestant)
        else:
            absent.append(f"{contestant.name}: {obstacle}")
    return chosen


def run_row(row: Row, bench: Bench) -> RowResult:
    """A row that breaks is an invalid row; the others still run."""
    began = time.monotonic()
    print(f"{row.name} …", end=" ", flush=True, file=sys.stderr)
    try:
        result = row.run(bench)
    except (LoadError, StartError, tools.BuildError, ValueError, OSError) as error:
        result = RowResult(row.name, row.title, problems=[f"{type(error).__name__}: {error}"])
    bench.children.stop_all()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return result


def run(args: argparse.Namespace, absent: list[str]) -> list[RowResult]:
    plan = Plan(rounds=args.rounds, seconds=args.seconds, warm_up=2)
    results = []
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as workdir:
        children = Children(Path(workdir))
        try:
            bench = Bench(choose(args.peers, absent), plan, children)
            for row in ROWS:
                if row.name not in args.rows:
                    continue
                if missing := tools.missing(*row.needs):
                    absent.append(f"row {row.name}: {', '.join(missing)} not found")
                    continue
                results.append(run_row(row, bench))
        finally:
            children.stop_all()
    return results


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt  # so that the children are stopped on the way out


def main() -> int:
    args = arguments()
    if missing := tools.missing(*ESSENTIAL):
        print(f"bench: {', '.join(missing)} not found; nothing can be measured", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    absent: list[str] = []
    machine = tools.machine()
    os.sched_setaffinity(0, {cores()[1]})  # we belong to the load
    try:
        results = run(args, absent)
    except KeyboardInterrupt:
        print("\nbench: interrupted; all processes are stopped", file=sys.stderr)
        return 130
    print(report.text(results, machine, absent))
    path = args.json or RESULTS / f"{machine['date']}.json".replace(":", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(results, machine, absent), indent=1))
    print(f"\nfigures: {path}")
    if args.publish:
        published.add(results, machine)
    return 0 if all(row.valid for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
