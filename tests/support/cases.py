"""The wire cases: `tests/cases/refused/NAME.http` with NAME.reason, `tests/cases/accepted/NAME.http` with NAME.expect.

A `.reason` holds the reason a request is refused with, or several that are right, parted by `|`. A refused case whose
name starts with `streamed_` has a sound head, so that its fault shows only while the body is on its way.
An `.expect` says what the backend must see: method, target, body_hex, fields (these, in this order, among others) and
absent (lower-case names); `closes` when the connection ends after the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "cases"


@dataclass(frozen=True)
class RefusedCase:
    name: str
    raw: bytes
    reasons: frozenset[str]

    @property
    def streamed(self) -> bool:
        return self.name.startswith("streamed_")

    @property
    def unknown_length(self) -> bool:
        return b"\r\nTransfer-Encoding: chunked\r\n" in self.raw

    @property
    def to_head(self) -> bool:
        return self.raw.startswith(b"HEAD ")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class AcceptedCase:
    name: str
    raw: bytes
    expect: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def refused_cases() -> list[RefusedCase]:
    return [
        RefusedCase(path.stem, path.read_bytes(), frozenset(path.with_suffix(".reason").read_text().strip().split("|")))
        for path in sorted((CASES / "refused").glob("*.http"))
    ]


def accepted_cases() -> list[AcceptedCase]:
    return [
        AcceptedCase(path.stem, path.read_bytes(), json.loads(path.with_suffix(".expect").read_text()))
        for path in sorted((CASES / "accepted").glob("*.http"))
    ]
