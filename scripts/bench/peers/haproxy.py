"""HAProxy: one thread, backend connections shared by all clients."""

from pathlib import Path

from scripts.bench.children import LOOPBACK
from scripts.bench.peers.base import Contestant, Launch, Site

CONFIG = """
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend front
    bind {host}:{port}
    default_backend pool
backend pool
{servers}
"""


class HAProxy(Contestant):
    name = "haproxy"
    programs = ("haproxy",)

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        servers = "\n".join(f"    server s{n} {address}" for n, address in enumerate(site.backends))
        path = workdir / "haproxy.cfg"
        path.write_text(CONFIG.format(host=LOOPBACK, port=port, servers=servers))
        return Launch(["haproxy", "-db", "-f", str(path)])
