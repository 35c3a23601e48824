"""From exec to the first answered request."""

import socket
import time
from statistics import median

from scripts.bench import backends
from scripts.bench.bench import Bench, answers_with
from scripts.bench.children import LOOPBACK, START_TIMEOUT, StartError, cores
from scripts.bench.peers.base import Contestant, Site
from scripts.bench.result import Finding, RowResult
from scripts.bench.rows.base import Row
from scripts.bench.targets import target
from tests.support.ports import unused_port

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
RUNS = 7


def answered(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as client:
            client.sendall(REQUEST)
            return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


class ColdStartRow(Row):
    name = "cold_start"
    title = "exec to first answered request"

    def measure(self, bench: Bench, row: RowResult) -> None:
        backend = backends.start_nginx(bench.children)
        site = Site(backend.addresses)
        for contestant in bench.named("aegis", "go"):
            # The first start is not counted: it may compile modules, and it shows that the answer is right.
            with bench.started(row, site, answers_with("/", backends.SMALL), [contestant]) as running:
                if not running:
                    continue
            seconds = median(self.once(bench, contestant, site) for _ in range(RUNS))
            ours = contestant.name == "aegis"
            measure = "seconds to first answer"
            label = measure if ours else f"{contestant.name}: {measure}"
            row.findings.append(Finding(label, seconds, target(self.name, measure) if ours else None))
        bench.children.stop(backend.child)

    def once(self, bench: Bench, contestant: Contestant, site: Site) -> float:
        port = unused_port()
        workdir = bench.children.workdir / f"cold-{port}"
        workdir.mkdir()
        launch = contestant.launch(site, port, workdir)
        began = time.perf_counter()
        child = bench.children.start(contestant.name, launch.command, core=cores()[0], environment=launch.environment)
        while not answered(port):
            if child.process.poll() is not None or time.perf_counter() - began > START_TIMEOUT:
                raise StartError(f"{contestant.name} did not start: {child.last_words()}")
            time.sleep(0.001)
        took = time.perf_counter() - began
        bench.children.stop(child)
        return took
