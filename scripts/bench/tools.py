"""What the machine offers: programs, versions, and the Go programs of the benchmark, built once and kept."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LUA = HERE / "lua"
COMPILED = ROOT / "build" / "compiled"
"""The package with its hot path compiled."""

VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "caddy": ["caddy", "version"],
    "go": ["go", "version"],
    "wrk": ["wrk", "-v"],
    "h2load": ["h2load", "--version"],
}


class BuildError(Exception):
    """A Go program did not build; the text is what the compiler said."""


def missing(*programs: str) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]


@cache
def version(program: str) -> str:
    """The first number with a dot that the program prints about itself, or "missing"."""
    if missing(program):
        return "missing"
    result = subprocess.run(VERSION_COMMANDS[program], capture_output=True, text=True, check=False)  # wrk -v exits 1
    found = re.search(r"\d+(?:\.\d+)+", result.stdout + result.stderr)
    return found[0] if found else "unknown"


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aegis-bench"


@cache
def go_program(name: str) -> Path:
    """The binary of go/NAME, built unless the same sources were built by the same Go before; raises BuildError."""
    sources = sorted((HERE / "go" / name).glob("*.go"))
    digest = hashlib.sha256(version("go").encode())
    for source in sources:
        digest.update(source.read_bytes())
    binary = cache_directory() / f"{name}-{digest.hexdigest()[:16]}"
    if binary.exists():
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_suffix(f".{os.getpid()}")
    # Only the standard library is used, so nothing may be fetched: neither modules nor another toolchain.
    environment = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    command = ["go", "build", "-o", str(partial), *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise BuildError(f"go build {name}: {result.stderr.strip()}")
    partial.rename(binary)
    return binary


def machine() -> dict[str, object]:
    """Where and when the figures were taken."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    revision = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(revision, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": commit or "unknown",
        "versions": {program: version(program) for program in VERSION_COMMANDS},
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
