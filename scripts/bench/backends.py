"""The backends behind the contestants: nginx for what is static, a small sink for bodies that must be read.

All live on the load's core. Without Go the fake backend of the demo is the sink: right, but slow, since it hashes.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import tools
from scripts.bench.children import LOOPBACK, Child, Children, cores
from tests.support.ports import unused_port

SMALL = b"hello from backend\n"  # 19 bytes
KILOBYTE = (b"0123456789abcdef" * 64)[:1024]
FILES = {"/1mb": 1 << 20, "/10mb": 10 << 20}

NGINX_CONFIG = """
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
worker_processes 1;
worker_rlimit_nofile {files};
{user}
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    default_type text/plain;
    # The default closes every connection after 1,000 requests, which would measure connects.
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    send_timeout 1h;
    open_file_cache max=16;
    {temporary}
    server {{
        {listen}
        location = /health {{ return 200 "ok\\n"; }}
        location = /1kb {{ return 200 "{kilobyte}"; }}
        location = /1mb {{ root {root}/files; }}
        location = /10mb {{ root {root}/files; }}
        location = /unique {{
            # $request_id is 16 random bytes: this head never repeats.
            add_header ETag '"$request_id"';
            add_header X-Id $request_id;
            return 200 "hello from backend\\n";
        }}
        # Takes the whole body before it answers, however long that takes.
        location = /body {{ client_body_timeout 1h; proxy_pass http://{self}/; }}
        location / {{ return 200 "hello from backend\\n"; }}
    }}
}}
"""


def temporary_paths(root: Path) -> str:
    """Directives that keep nginx's scratch directories out of the system's."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {root}/{kind};" for kind in kinds)


def run_as() -> str:
    # Started by root, nginx would drop to nobody, who cannot read the scratch directory.
    return "user root;" if os.geteuid() == 0 else ""


@dataclass(frozen=True, slots=True)
class Backend:
    """A running backend and where it listens (several addresses for the row that counts backends)."""

    child: Child
    port: int
    hosts: tuple[str, ...] = (LOOPBACK,)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"{host}:{self.port}" for host in self.hosts)


def start_nginx(children: Children, hosts: Sequence[str] = (LOOPBACK,)) -> Backend:
    port = unused_port()
    root = children.workdir / f"backend-{port}"
    files = root / "files"
    files.mkdir(parents=True)
    for name, size in FILES.items():
        (files / name.lstrip("/")).write_bytes(os.urandom(1 << 16) * (size >> 16))
    config = root / "nginx.conf"
    config.write_text(
        NGINX_CONFIG.format(
            root=root,
            user=run_as(),
            files=4096,
            connections=4000,
            temporary=temporary_paths(root),
            listen=" ".join(f"listen {host}:{port} backlog=4096;" for host in hosts),
            self=f"{hosts[0]}:{port}",
            kilobyte=KILOBYTE.decode(),
        )
    )
    child = children.start("backend", ["nginx", "-c", str(config), "-p", str(root)], core=cores()[1])
    child.wait_until_answers(port, "/health", hosts[-1])
    return Backend(child, port, tuple(hosts))


def start_sink(children: Children) -> Backend:
    """Reads uploads to their end and answers {"bytes": N, …}; streams /bytes/N."""
    port = unused_port()
    if tools.missing("go"):
        command = [sys.executable, str(tools.ROOT / "scripts" / "fake_backend.py"), "--ports", str(port)]
    else:
        command = [str(tools.go_program("load")), "sink", "-listen", f"{LOOPBACK}:{port}"]
    child = children.start("sink", command, core=cores()[1], environment={"GOMAXPROCS": "1"})
    child.wait_until_answers(port, "/health")
    return Backend(child, port)
