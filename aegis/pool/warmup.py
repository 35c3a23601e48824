"""How much of its weight a backend that came back gets. Pure: one share and one probe result in, a share out."""

from typing import Final

STEPS: Final = (0.25, 0.5, 0.75, 1.0)
"""Shares of the weight over consecutive passes; the first on the pass that marks it up."""

FULL: Final = STEPS[-1]


def after_recovery(*, alone: bool) -> float:
    """The share with which a recovered backend begins. alone: no other one is eligible, so sparing it spares nobody."""
    return FULL if alone else STEPS[0]


def after_probe(share: float, *, passed: bool) -> float:
    """The share after one more probe of a backend that is up: one step on, or back to the first; full stays full."""
    if share >= FULL:
        return FULL
    return STEPS[STEPS.index(share) + 1] if passed else STEPS[0]
