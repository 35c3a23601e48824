"""The real program as a subprocess, on a generated configuration: start it, collect its log, stop it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import gevent
import yaml

from tests.support.poll import eventually
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.scripted_backend import ScriptedBackend

ROOT = Path(__file__).parents[2]
PACKAGE = Path(os.environ.get("AEGIS_UNDER_TEST", ROOT))
"""Where the package lies that is run: the checkout, or build/compiled (`make test-compiled`)."""

# Switched off or set so high that the test at hand is the only thing that can refuse a request.
_OUT_OF_THE_WAY: dict[str, dict[str, Any]] = {
    "server": {"allowed_hosts": ["example.test", "*.wild.test"]},
    "health_check": {"interval": "1h"},
    "rate_limit": {"requests_per_second": 1_000_000, "burst": 1_000_000},
    "adaptive": {"enabled": False, "max_rate": 1_000_000},
    "circuit_breaker": {"failure_threshold": 1_000_000},
    "retry": {"budget_percent": 100, "min": 100},
    "development": {"allow_loopback_backends": True},
}


def config_for(
    backends: Iterable[ScriptedBackend | Mapping[str, Any]], **sections: Mapping[str, Any]
) -> dict[str, Any]:
    """A configuration before these backends on a fresh port; each of `sections` updates the section of its name."""
    config: dict[str, Any] = {name: dict(keys) for name, keys in _OUT_OF_THE_WAY.items()}
    host, port = free_port()
    config["server"] |= {"host": host, "port": port}
    config["backends"] = [b if isinstance(b, dict) else {"url": b.url, "weight": 1} for b in backends]
    for name, keys in sections.items():
        config[name] = config.get(name, {}) | dict(keys)
    return config


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would steer the program."""
    kept = {name: value for name, value in os.environ.items() if name not in {"AEGIS_ADMIN", "NOTIFY_SOCKET"}}
    return kept | dict(extra or {})


def run_aegis(*arguments: str, within: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run to its end: for usage, configuration errors and one-shot commands."""
    return subprocess.run(
        [sys.executable, "-m", "aegis", *arguments],
        cwd=PACKAGE,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def refuses(address: tuple[str, int]) -> bool:
    """Nobody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


class AegisProcess:
    """`with AegisProcess(config) as aegis`: serves inside the block, stopped and reaped after it.

    `read_output=False` leaves its stdout unread, as a stalled log reader would.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *arguments: str,
        env: Mapping[str, str] | None = None,
        read_output: bool = True,
    ) -> None:
        self.config = config
        self.arguments = arguments
        self.env = environment(env)
        self.read_output = read_output
        self.passed: tuple[int, ...] = ()  # descriptors that it inherits
        self.lines: list[str] = []
        self.log: list[dict[str, Any]] = []
        host, port = config["server"]["host"], config["server"]["port"]
        self.address: tuple[str, int] = ({"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host), port)
        self._errors = bytearray()
        self._readers: list[gevent.Greenlet] = []

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="aegis-test-")
        self.path = Path(self._directory.name) / "aegis.yml"
        self.write_config(self.config)
        self.process = subprocess.Popen(
            self.command(),
            cwd=PACKAGE,
            pass_fds=self.passed,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers.append(gevent.spawn(self._read_errors))
        if self.read_output:
            self._readers.append(gevent.spawn(self._read_log))
        try:
            eventually(self._accepts, "accepting connections", within=20)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._clean_up()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "aegis", "--config", str(self.path), "--headless", *self.arguments]

    def stop(self, number: int = signal.SIGTERM, within: float = 10.0) -> int:
        """Signal, wait, and return the exit code; its log is complete then."""
        self.signal(number)
        return self.wait(within)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace its configuration file, as an editor would."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        fresh.replace(self.path)

    def reload(self, config: Mapping[str, Any] | None = None, *, accepted: bool = True) -> dict[str, Any]:
        """SIGHUP, with another file when one is given; returns the line that says what became of it."""
        if config is not None:
            self.write_config(config)
        before = len(self._reloads())
        self.signal(signal.SIGHUP)
        line = eventually(lambda: self._reloads()[before:], "an answer to SIGHUP", within=10)[0]
        assert (line["event"] == "reload") is accepted, line
        return line

    def _reloads(self) -> list[dict[str, Any]]:
        return [line for line in self.log if line.get("event") in {"reload", "reload_failed"}]

    def wait(self, within: float = 10.0) -> int:
        code = self.process.wait(within)
        gevent.joinall(self._readers, timeout=5)
        return code

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def errors(self) -> str:
        """What it wrote to stderr so far."""
        return self._errors.decode(errors="replace")

    def access_lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Access lines whose fields have the wanted values."""
        return [
            record
            for record in list(self.log)
            if "request_id" in record and "reason" in record and wanted.items() <= record.items()
        ]

    def wait_for_access(self, within: float = 3.0, **wanted: object) -> dict[str, Any]:
        """The one access line with the wanted values."""
        found = eventually(lambda: self.access_lines(**wanted), f"an access line with {wanted}", within)
        assert len(found) == 1, found
        return found[0]

    def messages(self) -> list[str]:
        return [record.get("message", "") for record in self.log]

    def resident_bytes(self) -> int:
        """RSS of the process and all below it."""
        return sum(map(_resident, _family(self.process.pid)))

    def _accepts(self) -> bool:
        if not self.running:
            gevent.joinall(self._readers, timeout=2)
            raise AssertionError(f"exit {self.process.returncode} at start:\n{self.errors}\n" + "\n".join(self.lines))
        with socket.socket() as sock:
            return sock.connect_ex(self.address) == 0

    def _read_log(self) -> None:
        for line in self.process.stdout:
            text = line.decode().rstrip("\n")
            self.lines.append(text)
            try:
                self.log.append(json.loads(text))
            except ValueError:
                self.log.append({"level": "ERROR", "message": f"not JSON: {text}"})

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self._errors.extend(line)

    def _clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        gevent.joinall(self._readers, timeout=2)
        gevent.killall(self._readers)
        self.process.stdout.close()
        self.process.stderr.close()
        self._directory.cleanup()

    def __repr__(self) -> str:
        return f"<AegisProcess {self.process.pid} {'running' if self.running else self.process.returncode}>"


def _family(pid: int) -> list[int]:
    """A process and its descendants; those that end meanwhile are left out."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except FileNotFoundError:
        return []
    return [pid, *(one for child in children for one in _family(child))]


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
