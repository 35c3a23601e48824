"""Go's httputil.ReverseProxy on one processor. Knows one backend, the first.

`go`, the yardstick of the targets, is ReverseProxy as it comes, with enough idle connections. `go_pooled` has a
BufferPool too, which spares it 32 KB of garbage an answer: what a careful user of it would reach.
"""

from pathlib import Path
from typing import ClassVar

from scripts.bench import tools
from scripts.bench.children import LOOPBACK
from scripts.bench.peers.base import Contestant, Launch, Site


class Go(Contestant):
    name = "go"
    programs = ("go",)
    flags: ClassVar[tuple[str, ...]] = ()

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:  # noqa: ARG002  it needs no configuration
        command = [str(tools.go_program("proxy")), "-listen", f"{LOOPBACK}:{port}", *self.flags]
        return Launch([*command, "-backend", f"http://{site.backends[0]}"], {"GOMAXPROCS": "1"})


class GoPooled(Go):
    name = "go_pooled"
    flags = ("-pool",)
