"""Write all that is generated: `make docs`, or `python -m scripts.documents [--check]` to only say what is stale."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from aegis.config.reference import json_schema, with_reference
from aegis.tui import keys
from scripts.documents import completions, diagrams, manual, marks, modules, performance, reasons

ROOT = Path(__file__).resolve().parents[2]

Make = Callable[[str], str]
"""The text of a file today → as it has to be."""


def section(name: str, make: Callable[[], str]) -> Make:
    """Replace what stands between the two lines that name the section; ValueError where they are missing."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"

    def replaced(text: str) -> str:
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"needs the lines {begin} and {end}")
        return f"{before}{begin}\n{make()}\n{end}{after}"

    return replaced


def whole(make: Callable[[], str]) -> Make:
    """A file of which nothing is written by hand."""
    return lambda _: make()


def _architecture(text: str) -> str:
    for name, module in diagrams.MACHINES.items():
        text = section(name, partial(diagrams.machine, module))(text)
    return section("warm-up", diagrams.warm_up)(text)


def _readme(text: str) -> str:
    return section("performance", performance.readme)(with_reference(text))


def _performance(text: str) -> str:
    return section("targets", performance.verdicts)(section("figures", performance.figures)(text))


DOCUMENTS: Mapping[str, Make] = {
    "README.md": _readme,
    "conf/aegis.schema.json": whole(lambda: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"),
    "conf/man/aegis.1": whole(manual.man_page),
    "conf/completions/aegis": whole(partial(completions.completion, "bash")),
    "conf/completions/_aegis": whole(partial(completions.completion, "zsh")),
    "conf/completions/aegis.fish": whole(partial(completions.completion, "fish")),
    "docs/architecture.md": _architecture,
    "docs/modules.md": whole(partial(modules.page, ROOT)),
    "docs/operations.md": section("keys", lambda: keys.markdown().rstrip()),
    "docs/performance.md": _performance,
    "docs/security.md": section("marks", partial(marks.table, ROOT)),
    "docs/troubleshooting.md": section("reasons", reasons.table),
}


def stale() -> dict[str, str]:
    """File → what it should hold, for those that hold something else."""
    found = {}
    for name, make in DOCUMENTS.items():
        path = ROOT / name
        text = path.read_text() if path.exists() else ""
        wanted = make(text)
        if wanted != text:
            found[name] = wanted
    return found


def main(arguments: list[str]) -> int:
    found = stale()
    for name, text in found.items():
        print(f"{name}: {'stale' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(text)
    return int("--check" in arguments and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
