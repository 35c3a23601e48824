"""Three fake backends and Aegis in front of them, on one terminal (`make demo`).

Exit codes: 0 stopped by the user (Ctrl-C, SIGTERM, q in the dashboard); 1 a child died; 2 a port is busy or no config.
"""

import http.client
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "aegis.yml"
BACKEND_PORTS = (8081, 8082, 8083)
PROXY_PORT = 8080

START_TIMEOUT = 20.0  # seconds until Aegis has to answer
STOP_TIMEOUT = 35.0  # a little more than Aegis's own shutdown_timeout
CTRL_C_GRACE = 10.0  # a terminal's Ctrl-C reaches Aegis without us; a signal of ours on top would force it


# SIGHUP too: Aegis outlives a closed terminal, but the demo should leave nothing behind.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818  no error: the user asked for it
    """One of STOP_SIGNALS came; `number` tells which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def on_signal(number: int, _frame: FrameType | None) -> None:
    # One is enough: a second one would break off the stopping.
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


class Demo:
    """The child processes, by name."""

    def __init__(self, *, interactive: bool) -> None:
        self.interactive = interactive
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start_backends(self) -> None:
        command = [sys.executable, "scripts/fake_backend.py", "--ports", ",".join(map(str, BACKEND_PORTS))]
        # A session of their own: Ctrl-C must not take the backends away while Aegis drains.
        self.children["fake_backend"] = subprocess.Popen(command, cwd=ROOT, start_new_session=True)

    def start_aegis(self) -> None:
        command = [sys.executable, "-m", "aegis", "--config", str(CONFIG)]
        if not self.interactive:
            command.append("--headless")
        # With a dashboard Aegis has to stay in the terminal's foreground group; without, only we send it signals.
        self.children["aegis"] = subprocess.Popen(command, cwd=ROOT, start_new_session=not self.interactive)

    def dead(self) -> tuple[str, int] | None:
        for name, child in self.children.items():
            if (code := child.poll()) is not None:
                return name, code
        return None

    def wait_for(self, port: int) -> bool:
        """False when a child died or nothing answered in time."""
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until and self.dead() is None:
            if answers(port):
                return True
            time.sleep(0.1)
        return False

    def stop(self, number: int) -> None:
        """Aegis first, so that it can drain into backends that still live."""
        if (aegis := self.children.get("aegis")) is not None:
            if not (self.interactive and number == signal.SIGINT and ended(aegis, CTRL_C_GRACE)):
                aegis.terminate()
            if not ended(aegis, STOP_TIMEOUT):
                aegis.kill()
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            if not ended(child, 5):
                child.kill()
            child.wait()


def ended(child: subprocess.Popen[bytes], timeout: float) -> bool:
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def busy(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections in TIME_WAIT are no obstacle
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def obstacle() -> str | None:
    if not CONFIG.exists():
        return f"there is no {CONFIG.name} in {ROOT}"
    taken = [port for port in BACKEND_PORTS if busy("127.0.0.1", port)]
    if busy("0.0.0.0", PROXY_PORT):
        taken.insert(0, PROXY_PORT)
    if taken:
        ports = ", ".join(map(str, taken))
        return f"port {ports} is in use by another process; the demo needs {PROXY_PORT} and {BACKEND_PORTS[0]}-8083"
    return None


def describe() -> None:
    print(f"aegis         http://127.0.0.1:{PROXY_PORT}   ({CONFIG.name})")
    for port in BACKEND_PORTS:
        print(f"backend       http://127.0.0.1:{port}")
    print(f"try           curl -i http://127.0.0.1:{PROXY_PORT}/")
    print(f"slow one down curl -X POST 'http://127.0.0.1:{BACKEND_PORTS[0]}/_control?latency=800ms'")
    print(f"fail one      curl -X POST 'http://127.0.0.1:{BACKEND_PORTS[0]}/_control?health=fail'")
    print("Ctrl-C stops everything", flush=True)


def bring_up(demo: Demo) -> str | None:
    """What did not come up, or None."""
    demo.start_backends()
    if not all(demo.wait_for(port) for port in BACKEND_PORTS):
        return "the fake backends"
    if demo.interactive:
        describe()  # before the dashboard takes the screen
    demo.start_aegis()
    if not demo.wait_for(PROXY_PORT):
        return "aegis"
    if not demo.interactive:
        describe()
    return None


def run(demo: Demo) -> int:
    missing = bring_up(demo)
    while missing is None and demo.dead() is None:
        time.sleep(0.2)
    if demo.dead() == ("aegis", 0):  # q in the dashboard
        return 0
    if (died := demo.dead()) is not None:
        print(f"demo: {died[0]} ended with exit code {died[1]}; stopping the rest", file=sys.stderr)
    else:
        print(f"demo: {missing} did not answer within {START_TIMEOUT:.0f} s; stopping everything", file=sys.stderr)
    return 1


def main() -> int:
    if (reason := obstacle()) is not None:
        print(f"demo: {reason}", file=sys.stderr)
        return 2
    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    demo = Demo(interactive=sys.stdout.isatty())
    stop_signal = signal.SIGTERM
    try:
        return run(demo)
    except Stopped as stopped:
        stop_signal = signal.Signals(stopped.number)
        return 0
    finally:
        demo.stop(stop_signal)


if __name__ == "__main__":
    sys.exit(main())
