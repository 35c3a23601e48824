"""Child processes of the benchmark: pinned to a core, measured through the kernel's clocks, and always stopped.

Knows nothing of proxies.
"""

import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

START_TIMEOUT = 15.0  # seconds until a child has to answer
STOP_TIMEOUT = 10.0
LOOPBACK = "127.0.0.1"


class StartError(Exception):
    """A child did not come up; the text ends with the last lines it wrote."""


@cache  # what is allowed at the start; later the benchmark moves itself to the load's core
def cores() -> tuple[int, int]:
    """The core of the proxy and that of load and backend; the same one twice on a machine with a single core."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1] if len(allowed) == 1 else allowed[1]


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time used so far.

    The same account as utime + stime of /proc/PID/stat, in nanoseconds instead of ticks of 10 ms: the kernel's clock id
    for the CPU time of a process is ~pid << 3 | CPUCLOCK_SCHED (clock_getcpuclockid).
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:  # it ended in between
            continue
    return total


def busy_seconds(core: int) -> float:
    """How long the core was not idle so far: whoever used it, and what the hypervisor took (steal)."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rss_mb(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return total / 1024


@dataclass(slots=True)
class Child:
    """One started program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def __repr__(self) -> str:
        return f"<Child {self.name} pid {self.process.pid} exit {self.process.poll()}>"

    def pids(self) -> list[int]:
        return tree(self.process.pid)

    def last_words(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])

    def wait_until_answers(self, port: int, path: str = "/", host: str = LOOPBACK) -> None:
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until:
            if (code := self.process.poll()) is not None:
                raise StartError(f"{self.name} ended with exit code {code}: {self.last_words()}")
            if fetch(port, path, host) is not None:
                return
            time.sleep(0.02)
        raise StartError(f"{self.name} did not answer within {START_TIMEOUT:.0f} s: {self.last_words()}")

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            for pid in self.pids():  # a killed master would leave its workers behind
                os.kill(pid, 9)
            self.process.wait()


class Children:
    """All children of one run, stopped together in reverse order."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self.running: list[Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> Child:
        """stdin and stdout: descriptors, where nothing and the child's log will not do."""
        log = self.workdir / f"{name}-{len(list(self.workdir.glob('*.log')))}.log"
        argv = ["taskset", "-c", str(core), *command]
        if shutil.which("setpriv"):  # so that nothing is left behind even when the benchmark itself is killed
            argv = ["setpriv", "--pdeathsig", "TERM", *argv]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=sink if stdout is None else stdout,
                stderr=sink,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is ours alone: we stop the children in order
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    def stop(self, child: Child) -> None:
        child.stop()
        self.running.remove(child)

    def stop_all(self) -> None:
        while self.running:
            self.running.pop().stop()


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


def fetch(
    port: int, path: str, host: str = LOOPBACK, *, method: str = "GET", body: bytes | None = None
) -> Fetched | None:
    """One request on a connection of its own; None when there was no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return Fetched(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
