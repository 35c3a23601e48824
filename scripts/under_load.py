"""Prints the table of docs/operations.md that says what each change costs under load, row by row as it is measured.

`python -m gevent.monkey --module scripts.under_load`; what went wrong in a row goes to stderr.
"""

import sys
from collections import Counter

from tests.support.under_load import SCENARIOS, measured

HEAD = """\
| what happens | workers | sent | answered | to be sent again | failed | lost |
|---|---|---|---|---|---|---|"""


def main() -> None:
    print(HEAD)
    for scenario in SCENARIOS:
        for workers in scenario.workers:
            its = measured(scenario, workers)
            counts = f"{its.sent:,} | {its.answered:,} | {its.retryable} | {its.failed} | {its.lost}"
            print(f"| {scenario.name} | {workers} | {counts} |", flush=True)
            for words, count in Counter(its.failures).items():
                print(f"{count} × {words}", file=sys.stderr)


if __name__ == "__main__":
    main()
