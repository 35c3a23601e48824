"""`make differential SEED=1 ROUNDS=1000`: the same inputs through the interpreted and the compiled hot path.

Each build runs in a process of its own and prints one line for every outcome, result or exception; a line in which
they differ is a defect of the compiled one (docs/decisions/0008). The inputs are the cases of tests/cases and random
messages, damaged, and random sequences of calls, all by the seed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from pathlib import Path

from scripts.bench.tools import COMPILED, ROOT

MOST_SHOWN = 20


def child(package: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A process that prints outcomes, with the package as it lies there."""
    environment = os.environ | {"PYTHONPATH": f"{package}:{ROOT}", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-m", "scripts.differential.outcomes", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def compare(arguments: list[str], compiled: Path) -> tuple[int, list[str]]:
    """(outcomes compared, those that differ)"""
    with child(ROOT, arguments) as one, child(compiled, arguments) as other:
        first, second = (next(iter(process.stdout)).strip() for process in (one, other))
        if (first, second) != (b"interpreted", b"compiled"):
            raise SystemExit(f"not the two builds: {first.decode()} and {second.decode()}")
        count, different = 0, []
        for count, (mine, theirs) in enumerate(itertools.zip_longest(one.stdout, other.stdout), 1):  # noqa: B007
            if mine != theirs:
                different.append(
                    f"interpreted {(mine or b'nothing').decode()}compiled    {(theirs or b'nothing').decode()}"
                )
                if len(different) >= MOST_SHOWN:
                    one.kill()
                    other.kill()
                    break
    if len(different) < MOST_SHOWN and (one.returncode or other.returncode):
        raise SystemExit(f"a build failed: {one.returncode}, {other.returncode}")
    return count, different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--rounds", default="1000", help="of each subject")
    parser.add_argument("--compiled", type=Path, default=COMPILED)
    parser.add_argument("subjects", nargs="*", help="only these")
    given = parser.parse_args()
    count, different = compare([given.seed, given.rounds, *given.subjects], given.compiled)
    print(f"{count:,} outcomes compared, {len(different)} differ")
    for each in different:
        print(each)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
