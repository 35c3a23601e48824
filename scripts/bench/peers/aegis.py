"""Aegis itself: all layers and the access log on, limits far above the load, all else at its default.

Twice: as `make compiled` made it, and interpreted, as it runs from a checkout.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.bench import tools
from scripts.bench.children import LOOPBACK
from scripts.bench.peers.base import Contestant, Launch, Site

FAR_ABOVE_THE_LOAD = 1_000_000  # requests per second; no row comes near
BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""Every install compiles the modules. Where the environment forbids that (containers often do), each start from a
checkout would compile all of them again."""


def configuration(site: Site, port: int, workdir: Path) -> dict[str, dict[str, Any] | list[dict[str, Any]]]:
    config: dict[str, Any] = {
        "server": {"host": LOOPBACK, "port": port, "max_connections": 20_000},
        "backends": [{"url": f"http://{address}", "weight": 1} for address in site.backends],
        "rate_limit": {"requests_per_second": FAR_ABOVE_THE_LOAD, "burst": FAR_ABOVE_THE_LOAD},
        "adaptive": {"max_rate": FAR_ABOVE_THE_LOAD},
        "logging": {"file": str(workdir / "access.log")},
        "development": {"allow_loopback_backends": True},
    }
    for section, keys in site.settings.items():
        config[section] = {**config.get(section, {}), **keys}
    return config


class Interpreted(Contestant):
    name = "aegis_interpreted"
    environment = BYTECODE

    def obstacle(self) -> str | None:
        return None if find_spec("aegis.__main__") else "aegis.__main__ not found"

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        path = workdir / "aegis.yml"
        path.write_text(json.dumps(configuration(site, port, workdir), indent=1))  # JSON is YAML
        # -P: what the environment says, not the package in the working directory.
        command = [sys.executable, "-P", "-m", "aegis", "--config", str(path), "--headless"]
        return Launch(command, self.environment)


class Aegis(Interpreted):
    name = "aegis"
    environment = BYTECODE | {"PYTHONPATH": str(tools.COMPILED)}

    def obstacle(self) -> str | None:
        return None if tools.COMPILED.is_dir() else f"{tools.COMPILED} not found: make compiled"
