"""Rows that put every contestant under the same load and compare rate and CPU."""

import json
from dataclasses import dataclass

from scripts.bench import backends, load
from scripts.bench.bench import Bench, Check, answers_with
from scripts.bench.children import fetch
from scripts.bench.parse import Load
from scripts.bench.peers.base import Running, Site
from scripts.bench.result import RowResult
from scripts.bench.rows.base import Row, judge_rates

UPLOAD = 10 << 20


@dataclass(frozen=True)
class SmallRow(Row):
    """Small answers, driven by wrk."""

    name: str
    title: str
    path: str = "/"
    script: str | None = None
    connections: int = 50
    body: bytes = backends.SMALL
    never_repeats: bool = False  # the answer's head has to differ each time

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        with bench.started(row, Site(backend.addresses), self.check(), bench.contestants) as running:
            bench.rounds(row, running, self.drive)
        bench.children.stop(backend.child)
        judge_rates(row)

    def drive(self, running: Running, seconds: float) -> Load:
        return load.wrk(running.port, self.path, connections=self.connections, seconds=seconds, script=self.script)

    def check(self) -> Check:
        same_body = answers_with(self.path, self.body)
        return answers_uniquely(self.path, same_body) if self.never_repeats else same_body


def answers_uniquely(path: str, same_body: Check) -> Check:
    def check(running: Running) -> str | None:
        if (wrong := same_body(running)) is not None:
            return wrong
        answers = [fetch(running.port, path) for _ in range(2)]
        ids = {answer.headers.get("x-id") for answer in answers if answer is not None}
        return None if len(ids) == 2 and None not in ids else "the backend's X-Id is lost or repeats"

    return check


@dataclass(frozen=True)
class DownloadRow(Row):
    """Large files."""

    name: str
    title: str
    path: str
    connections: int

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        original = fetch(backend.port, self.path)
        check = answers_with(self.path, original.body if original is not None else b"")
        with bench.started(row, Site(backend.addresses), check, bench.contestants) as running:
            bench.rounds(row, running, self.drive)
        bench.children.stop(backend.child)
        judge_rates(row)

    def drive(self, running: Running, seconds: float) -> Load:
        return load.bodies(running.port, self.path, connections=self.connections, seconds=seconds)


@dataclass(frozen=True)
class UploadRow(Row):
    """Large request bodies, read to their end by the backend before it answers."""

    name: str
    title: str
    connections: int

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_sink(bench.children)
        with bench.started(row, Site(backend.addresses), counts_an_upload, bench.contestants) as running:
            bench.rounds(row, running, self.drive)
        bench.children.stop(backend.child)
        judge_rates(row)

    def drive(self, running: Running, seconds: float) -> Load:
        return load.bodies(running.port, "/upload", connections=self.connections, seconds=seconds, upload=UPLOAD)


def counts_an_upload(running: Running) -> str | None:
    answer = fetch(running.port, "/upload", method="POST", body=b"x" * UPLOAD)
    if answer is None or answer.status != 200:
        return f"POST /upload answered {answer.status if answer else 'nothing'}"
    count = json.loads(answer.body)["bytes"]
    return None if count == UPLOAD else f"the backend saw {count} of {UPLOAD} bytes"
