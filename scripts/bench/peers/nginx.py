"""nginx: one worker, pooled backend connections, bodies streamed instead of spooled to disk."""

from pathlib import Path

from scripts.bench.backends import run_as, temporary_paths
from scripts.bench.children import LOOPBACK
from scripts.bench.peers.base import Contestant, Launch, Site

CONFIG = """
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
worker_processes 1;
{user}
events {{ worker_connections 4000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    {temporary}
    upstream backend {{
        {servers}
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


class Nginx(Contestant):
    name = "nginx"
    programs = ("nginx",)

    def launch(self, site: Site, port: int, workdir: Path) -> Launch:
        path = workdir / "nginx.conf"
        path.write_text(
            CONFIG.format(
                root=workdir,
                user=run_as(),
                temporary=temporary_paths(workdir),
                servers=" ".join(f"server {address};" for address in site.backends),
                host=LOOPBACK,
                port=port,
            )
        )
        return Launch(["nginx", "-c", str(path), "-p", str(workdir)])
