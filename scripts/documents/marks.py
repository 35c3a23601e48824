"""All `[SECURITY] Name: why` marks of the source as one table."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MARK = re.compile(r"\[SECURITY\] (?P<name>\w+): (?P<why>.*)")


class Mark(NamedTuple):
    """One mark, and the file that it stands in."""

    name: str
    why: str
    file: str


def marks_of(root: Path) -> list[Mark]:
    """Every mark under `aegis/`, by name and file."""
    found = [
        mark
        for path in sorted((root / "aegis").rglob("*.py"))
        for mark in _marks(path.read_text().splitlines(), str(path.relative_to(root)))
    ]
    return sorted(found, key=lambda mark: (mark.name, mark.file))


def table(root: Path) -> str:
    """One row a mark."""
    rows = ["| mark | file | why |", "|---|---|---|"]
    rows += [f"| {mark.name} | `{mark.file}` | {_cell(mark.why)} |" for mark in marks_of(root)]
    return "\n".join(rows)


def _marks(lines: list[str], file: str) -> Iterator[Mark]:
    for number, line in enumerate(lines):
        match = MARK.search(line)
        if match:
            why = [match["why"], *_rest(lines[number + 1 :], line)]
            yield Mark(match["name"], " ".join(why).strip(), file)


def _rest(following: list[str], first: str) -> Iterator[str]:
    """The lines in which a reason goes on: of the same comment, or of the same paragraph of a docstring."""
    in_comment = first.lstrip().startswith("#")
    if '"""' in first.partition("[SECURITY]")[2]:
        return
    for line in following:
        text = line.strip()
        ends = not text.startswith("# ") if in_comment else not text or text.startswith('"""')
        if ends or "[SECURITY]" in text:
            return
        yield text.removeprefix("# ").removesuffix('"""')
        if text.endswith('"""'):
            return


def _cell(text: str) -> str:
    return text.removesuffix('"""').replace("|", "\\|")
