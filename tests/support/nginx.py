"""nginx as a plain reverse proxy before one backend: the stranger that Aegis is compared with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.poll import eventually
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.support.scripted_backend import ScriptedBackend

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
LARGEST_BODY = 65536

CONFIG = """
daemon off;
master_process off;
pid {root}/nginx.pid;
error_log {root}/error.log;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size {largest};
    client_body_temp_path {root}/client;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    upstream backend {{ server {backend}; keepalive 8; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
        }}
    }}
}}
"""


class NginxProcess:
    """`with NginxProcess(backend) as nginx`: serves at `nginx.address` inside the block."""

    def __init__(self, backend: ScriptedBackend) -> None:
        self.backend = backend

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="nginx-test-")
        root = Path(self._directory.name)
        self.address = host, port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        (root / "nginx.conf").write_text(
            CONFIG.format(root=root, user=user, backend=self.backend.name, host=host, port=port, largest=LARGEST_BODY)
        )
        self.process = subprocess.Popen(
            [PROGRAM, "-p", str(root), "-c", "nginx.conf"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(self._accepts, "nginx accepting connections", within=10)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clean_up()

    def _accepts(self) -> bool:
        assert self.process.poll() is None, "nginx ended at start"
        with socket.socket() as sock:
            return sock.connect_ex(self.address) == 0

    def _clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._directory.cleanup()
