"""State machines of Aegis as pictures and tables, drawn from the tables that move them."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import ModuleType

from aegis.pool import breaker, health, warmup
from aegis.service import lifecycle
from aegis.wire import connection

Transitions = Mapping[tuple[Enum, Enum], Enum]

MACHINES: Mapping[str, ModuleType] = {
    "client connection": connection,
    "process": lifecycle,
    "breaker": breaker,
    "health": health,
}


def machine(module: ModuleType) -> str:
    """The `TRANSITIONS` of a module: a mermaid picture, and a table with the comments that stand in the source."""
    transitions: Transitions = module.TRANSITIONS
    return "\n".join([*_picture(transitions), "", *_table(transitions, _comments(module))])


def warm_up() -> str:
    """The shares of a recovering backend, by asking the function that decides them."""
    lines = [f'state "{share:.0%}" as {_share(share)}' for share in warmup.STEPS]
    lines.append(f"[*] --> {_share(warmup.STEPS[0])}: marked up")
    for share in warmup.STEPS[:-1]:
        lines.append(f"{_share(share)} --> {_share(warmup.after_probe(share, passed=True))}: pass")
        back = warmup.after_probe(share, passed=False)
        if back != share:
            lines.append(f"{_share(share)} --> {_share(back)}: failure")
    return "\n".join(_mermaid(lines))


def _share(share: float) -> str:
    return f"share_{share * 100:.0f}"


def _picture(transitions: Transitions) -> list[str]:
    states = type(next(iter(transitions.values())))
    lines = [f"[*] --> {_identifier(next(iter(states)))}"]
    lines += [
        f"{_identifier(before)} --> {_identifier(after)}: {_word(event)}"
        for (before, event), after in transitions.items()
    ]
    leaving = {before for before, _ in transitions}
    lines += [f"{_identifier(state)} --> [*]" for state in states if state not in leaving]
    return _mermaid(lines)


def _mermaid(lines: Iterable[str]) -> list[str]:
    return ["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"]


def _table(transitions: Transitions, comments: Mapping[str, str]) -> list[str]:
    rows = ["| from | event | to | when |", "|---|---|---|---|"]
    for (before, event), after in transitions.items():
        when = comments.get(f"{before} {event}") or comments.get(f"{type(event).__name__}.{event.name}", "")
        rows.append(f"| {_word(before)} | {_word(event)} | {_word(after)} | {when} |")
    return rows


def _comments(module: ModuleType) -> dict[str, str]:
    """What stands behind a transition or a member of an enum in the source."""
    source = inspect.getsource(module)
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {name: by_line[line] for name, line in _places(ast.parse(source), module) if line in by_line}


def _places(tree: ast.Module, module: ModuleType) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                    yield f"{node.name}.{inner.targets[0].id}", inner.lineno
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TRANSITIONS":
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            for key, (before, event) in zip(keys, module.TRANSITIONS, strict=True):
                yield f"{before} {event}", key.lineno if key else 0


def _identifier(member: Enum) -> str:
    return member.name.lower()


def _word(member: Enum) -> str:
    return member.name.lower().replace("_", " ")
