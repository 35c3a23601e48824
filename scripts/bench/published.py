"""The figures that the pages show: docs/performance.json, from which `make docs` makes their tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.bench import tools
from scripts.bench.report import row_as_json
from scripts.bench.result import RowResult

PATH = tools.ROOT / "docs" / "performance.json"
KEPT = ("name", "title", "medians", "findings", "notes", "problems", "disturbance")


def merged(before: Mapping[str, Any], rows: Sequence[RowResult], machine: Mapping[str, Any]) -> dict[str, Any]:
    """With these rows in the place of those of the same name; figures of another machine go. Each says its commit."""
    kept = before["rows"] if before.get("machine", {}).get("cpu") == machine["cpu"] else {}
    fresh = {row.name: {"commit": machine["commit"], "date": machine["date"], **_of(row)} for row in rows}
    return {"machine": dict(machine), "rows": {**kept, **fresh}}


def _of(row: RowResult) -> dict[str, Any]:
    whole = {**row_as_json(row), "disturbance": row.disturbance}
    return {name: whole[name] for name in KEPT}


def read() -> dict[str, Any]:
    return json.loads(PATH.read_text()) if PATH.exists() else {"machine": {}, "rows": {}}


def add(rows: Sequence[RowResult], machine: Mapping[str, Any]) -> None:
    PATH.write_text(json.dumps(merged(read(), rows, machine), indent=1) + "\n")
    print(f"published: {PATH}; `make docs` brings the pages up to it")
