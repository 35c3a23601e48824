"""A reverse proxy on aiohttp, as a careful user of it would write one."""

import sys
from importlib.util import find_spec
from pathlib import Path

from scripts.bench.peers.base import Contestant, Launch, Site


class Aiohttp(Contestant):
    name = "aiohttp"

    def obstacle(self) -> str | None:
        return None if find_spec("aiohttp") else "the aiohttp package is not installed"

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:  # noqa: ARG002  it needs no configuration
        program = Path(__file__).with_name("aiohttp_proxy.py")
        return Launch([sys.executable, str(program), str(port), site.backends[0]])
