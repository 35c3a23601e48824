"""Every module of the package in the words of its own docstring, room by room."""

import ast
from itertools import groupby
from pathlib import Path

INTRODUCTION = """# Modules

Every module in the words of its own docstring; `make docs` collects them. [architecture.md](architecture.md) says how
they belong together.
"""


def page(root: Path) -> str:
    """`docs/modules.md`."""
    package = root / "aegis"
    paths = [path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"]
    parts = [INTRODUCTION]
    for room, group in groupby(sorted(paths, key=lambda path: (_room(path), path)), key=_room):
        parts.append(f"## {room}\n\n| module | what it is for |\n|---|---|")
        parts += [f"| `{path.with_suffix('')}` | {_words(package / path)} |" for path in group]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _room(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else "aegis"


def _words(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")
