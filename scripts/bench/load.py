"""The load programs: one call is one run on the load's core."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import parse, tools
from scripts.bench.children import LOOPBACK, cores
from scripts.bench.parse import Load


class LoadError(Exception):
    """A load program failed or could not be run."""


def run(command: Sequence[str], timeout: float) -> str:
    """Stdout of the command, pinned to the load's core; raises LoadError."""
    argv = ["taskset", "-c", str(cores()[1]), *command]
    try:
        result = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{command[0]} did not end within {timeout:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise LoadError(f"{command[0]} exited {error.returncode}: {error.stderr.strip()[-300:]}") from error
    return result.stdout


def wrk(port: int, path: str, *, connections: int, seconds: float, script: str | None = None) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", "--timeout", "10s"]
    if script is not None:
        command += ["-s", str(tools.LUA / script)]
    return parse.wrk(run([*command, f"http://{LOOPBACK}:{port}{path}"], seconds + 30))


def bodies(port: int, path: str, *, connections: int, seconds: float, upload: int | None = None) -> Load:
    """Large bodies by the Go client, which reads big pieces; by wrk where there is no Go."""
    if tools.missing("go"):
        script = None if upload is None else "upload.lua"
        return wrk(port, path, connections=connections, seconds=seconds, script=script)
    command = [str(tools.go_program("load")), "run", "-c", str(connections), "-d", f"{seconds}s"]
    if upload is not None:
        command += ["-upload", str(upload)]
    return parse.client(run([*command, "-url", f"http://{LOOPBACK}:{port}{path}"], seconds + 60))


def from_many(port: int, path: str, *, connections: int, seconds: float, sources: int) -> Load:
    """Small answers by the Go client, from so many addresses: one address always reaches one worker."""
    command = [str(tools.go_program("load")), "run", "-c", str(connections), "-d", f"{seconds}s"]
    command += ["-sources", str(sources), "-url", f"http://{LOOPBACK}:{port}{path}"]
    return parse.client(run(command, seconds + 60))


def one_body(port: int, path: str, *, checksum: str, upload: int | None = None) -> str:
    """One request with a huge body; the client's JSON line."""
    command = [str(tools.go_program("load")), "run", "-n", "1", "-sum", checksum]
    if upload is not None:
        command += ["-upload", str(upload)]
    return run([*command, "-url", f"http://{LOOPBACK}:{port}{path}"], 300)


def pattern_sum(size: int, checksum: str) -> str:
    return run([str(tools.go_program("load")), "sum", "-size", str(size), "-sum", checksum], 300).strip()


def h2load(port: int, path: str, *, connections: int, seconds: float, rate: float, log: Path) -> Load:
    """HTTP/1.1 at a fixed total rate, which h2load wants per connection."""
    log.unlink(missing_ok=True)  # it appends
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds:.0f}"]
    command += [f"--rps={rate / connections:.3f}", f"--log-file={log}"]
    summary = run([*command, f"http://{LOOPBACK}:{port}{path}"], seconds + 60)
    with log.open() as lines:
        return parse.h2load(summary, lines)
