"""What the demo does to its third backend, and the words that say what to look at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that can be done: its key, what it is called, and what to look at then."""

    key: str
    name: str
    words: str
    switches: str = ""  # of scripts/fake_backend.py


WELL = "latency=4ms&error_rate=0"
HEALTHY = Scene("0", "healthy", "app-3 is well. It has weight 2 of 4, so every second request is its.")
RECOVERED = Scene(
    "0",
    "healthy",
    "app-3 is well again. See its WEIGHT climb 25, 50, 75, 100 % after an outage, a breaker go HALF-OPEN, CLOSED.",
    WELL,
)
SLOW = Scene(
    "1",
    "slow",
    "app-3 now takes 0.8 s. See its P95 rise, then LIMIT: reduced by a fifth, held, reduced again.",
    "latency=800ms&error_rate=0",
)
FAILING = Scene(
    "2",
    "failing",
    "app-3 now answers 500. After five in a row its breaker is OPEN for 5 s: it gets nothing, then a few on trial.",
    "latency=4ms&error_rate=1",
)
DEAD = Scene(
    "3",
    "dead",
    "app-3 was killed. What was in flight there fails; a refused connect moves on. After two failed probes it is DOWN.",
)
BY_KEY = {scene.key: scene for scene in (RECOVERED, SLOW, FAILING, DEAD)}

STORY = (
    (0.0, HEALTHY),
    (6.0, FAILING),
    (12.0, RECOVERED),
    (20.0, DEAD),
    (26.0, RECOVERED),
    (34.0, SLOW),
    (46.0, RECOVERED),
    (60.0, HEALTHY),
)
"""Seconds since the start, and the scene that begins then."""


def scene_at(seconds: float) -> Scene:
    """The scene of the story at this time; it ends with the last one."""
    return next(scene for start, scene in reversed(STORY) if seconds >= start or start == 0.0)


def narration(scene: Scene, columns: int, *, playing: bool, traffic: bool) -> list[str]:
    """The lines below the dashboard, each at most so wide."""
    keys = "  ".join(f"{each.key} {each.name}" for each in (SLOW, FAILING, DEAD, RECOVERED))
    state = "story on" if playing else "s story"
    lines = [
        f"── demo: {scene.name} ".ljust(columns, "─"),
        *wrapped(scene.words, columns, 2),
        f"app-3: {keys}   t {'stop' if traffic else 'start'} traffic   {state}",
        "probes, decisions 1s (else 10s), breaker 5s (else 30s), window 5s (else 60s)",
    ]
    return [line[:columns] for line in lines]


def wrapped(words: str, columns: int, lines: int) -> list[str]:
    """The words in exactly so many lines."""
    filled = [""]
    for word in words.split():
        if filled[-1] and len(filled[-1]) + 1 + len(word) > columns:
            filled.append("")
        filled[-1] += (" " if filled[-1] else "") + word
    return (filled + [""] * lines)[:lines]


LINES = 5
"""Lines of a narration."""
