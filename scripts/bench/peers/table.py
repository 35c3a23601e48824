"""Who takes part, in the order of the report. A new contestant is one more line here."""

from scripts.bench.peers.aegis import Aegis, Interpreted
from scripts.bench.peers.aiohttp import Aiohttp
from scripts.bench.peers.base import Contestant
from scripts.bench.peers.caddy import Caddy
from scripts.bench.peers.go import Go, GoPooled
from scripts.bench.peers.haproxy import HAProxy
from scripts.bench.peers.nginx import Nginx

AEGIS = Aegis()
PEERS: tuple[Contestant, ...] = (Interpreted(), Go(), GoPooled(), Nginx(), HAProxy(), Caddy(), Aiohttp())
SHORT_PEERS = ("aegis_interpreted", "go", "go_pooled", "nginx")
