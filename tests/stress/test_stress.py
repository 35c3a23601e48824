"""Mixed traffic while everything around it goes wrong: nothing is lost, doubled, mixed up or left behind.

`make stress SEED=… SECONDS=…`; without them a new seed and a short run. docs/reliability.md says what is checked.
"""

from __future__ import annotations

import os
import random
import sys

import pytest

from tests.stress.runner import Run

SECONDS = float(os.environ.get("SECONDS") or 40)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))

pytestmark = [pytest.mark.stress, pytest.mark.timeout(SECONDS + 180)]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_doubled_mixed_up_or_left_behind(workers, capsys):
    report = Run(SEED, SECONDS / 2, workers).go()
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.violations, _told(report.violations)


def _told(violations: list[str], most: int = 40) -> str:
    more = f"\n… and {len(violations) - most} more" if len(violations) > most else ""
    again = f"make stress SEED={SEED} SECONDS={SECONDS:.0f}"
    return f"{len(violations)} violations; {again}\n" + "\n".join(violations[:most]) + more
