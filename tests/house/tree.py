"""The package as its sources say it is: modules, rooms, and who imports whom."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aegis"


@cache
def sources() -> dict[str, Path]:
    """Module name → file, without the empty package files."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(), filename=module)


def room(module: str) -> str:
    """`aegis.wire.server` → `wire`, `aegis.cli` → `cli`."""
    return module.split(".")[1]


@cache
def imported(module: str) -> frozenset[str]:
    """All that a module imports at run time, wherever in it the import stands; types alone are left out."""
    found = set()
    for node in _at_run_time(parsed(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in sources() else node.module)
    return frozenset(found)


def ours(module: str) -> frozenset[str]:
    """The modules of ours that a module imports."""
    return frozenset(name for name in imported(module) if name in sources())


def calls(module: str) -> set[str]:
    """The names that a module calls: `f` of `f()`, `a.b.f()`."""
    names = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Call):
            names.add(getattr(node.func, "attr", getattr(node.func, "id", "")))
    return names


def _at_run_time(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other)
            continue
        yield child
        yield from _at_run_time(child)
