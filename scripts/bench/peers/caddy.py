"""Caddy: one processor, more idle backend connections than its default of 32 per host."""

from pathlib import Path

from scripts.bench.children import LOOPBACK
from scripts.bench.peers.base import Contestant, Launch, Site

CONFIG = """
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind {host}
    reverse_proxy {backends} {{
        transport http {{
            keepalive_idle_conns_per_host 256
            compression off
        }}
    }}
}}
"""


class Caddy(Contestant):
    name = "caddy"
    programs = ("caddy",)

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        path = workdir / "Caddyfile"
        path.write_text(CONFIG.format(host=LOOPBACK, port=port, backends=" ".join(site.backends)))
        environment = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(workdir), "XDG_CONFIG_HOME": str(workdir)}
        return Launch(["caddy", "run", "--config", str(path), "--adapter", "caddyfile"], environment)
