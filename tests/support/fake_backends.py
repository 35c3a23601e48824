"""`scripts/fake_backend.py`, one process a backend: stopped, killed, restarted and switched while traffic runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Self

from tests.support.aegis_process import ROOT, refuses
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient


class FakeBackend:
    """One backend on an address that survives restarts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address: tuple[str, int] = free_port()
        self.url = "http://{}:{}".format(*self.address)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        host, port = self.address
        script = str(ROOT / "scripts" / "fake_backend.py")
        self.process = subprocess.Popen(
            [sys.executable, script, "--host", host, "--ports", str(port), "--names", self.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        eventually(lambda: not refuses(self.address), f"{self.name} listening", within=20)

    def terminate(self) -> None:
        """SIGTERM, and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._end(signal.SIGKILL)

    def switch(self, query: str) -> None:
        """`health=fail`, `error_rate=1`, `latency=200ms`."""
        with RawClient(self.address) as client:
            client.request("POST", f"/_control?{query}")
            assert client.read_response().status == 200, query

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(20)

    def __repr__(self) -> str:
        return f"<FakeBackend {self.name} {'running' if self.process else 'stopped'}>"
