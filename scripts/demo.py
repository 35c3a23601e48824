"""Three fake backends and Aegis in front of them (`make demo`).

On a terminal the dashboard shows it alive: gentle traffic, quick intervals (scripts/demo.yml), and below the dashboard
keys that make one backend slow, failing or dead, each explained. Without one Aegis runs headless on aegis.yml.

Exit codes: 0 stopped by the user (Ctrl-C, SIGTERM, q in the dashboard); 1 a child died; 2 a port is busy or no config.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import demo_story  # noqa: E402 - found from the root, wherever it is started
from scripts.demo_stage import Stage  # noqa: E402
from scripts.demo_traffic import Traffic  # noqa: E402

CONFIG = ROOT / "aegis.yml"
QUICK = ROOT / "scripts" / "demo.yml"
BACKEND_PORTS = (8081, 8082, 8083)
PROXY_PORT = 8080

START_TIMEOUT = 20.0  # seconds until Aegis has to answer
STOP_TIMEOUT = 35.0  # a little more than Aegis's own shutdown_timeout


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
        self.stage: Stage | None = None

    def start_backends(self) -> None:
        for port in BACKEND_PORTS:
            self.start_backend(port)

    def start_backend(self, port: int) -> None:
        command = [sys.executable, "scripts/fake_backend.py", "--ports", str(port)]
        if self.interactive:
            command += ["--latency", "4ms", "--jitter", "8ms"]
        # A session of their own: Ctrl-C must not take the backends away while Aegis drains.
        self.children[f"backend {port}"] = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL if self.interactive else None
        )

    def start_aegis(self) -> None:
        if self.interactive:
            command = [sys.executable, "-m", "aegis", "--config", str(QUICK)]
            self.stage = Stage(command, str(ROOT), demo_story.LINES)
            self.children["aegis"] = self.stage.process
        else:
            command = [sys.executable, "-m", "aegis", "--config", str(CONFIG), "--headless"]
            self.children["aegis"] = subprocess.Popen(command, cwd=ROOT, start_new_session=True)

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

    def stop(self) -> None:
        """Aegis first, so that it can drain into backends that still live."""
        if (aegis := self.children.get("aegis")) is not None:
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


def on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


class Show:
    """The dashboard with traffic, and what is done to the third backend: by the story, or by a key."""

    def __init__(self, demo: Demo, stage: Stage) -> None:
        self.demo = demo
        self.stage = stage
        self.traffic = Traffic(PROXY_PORT)
        self.scene = demo_story.HEALTHY
        self.started: float | None = time.monotonic()  # of the story; None once a key took over

    def run(self) -> int:
        self.traffic.start()
        try:
            return self.stage.run(self.on_key, self.below)
        finally:
            self.traffic.stop()

    def on_key(self, key: str) -> bool:
        if key in demo_story.BY_KEY:
            self.started = None
            self.play(demo_story.BY_KEY[key])
        elif key == "t":
            self.traffic.on = not self.traffic.on
        elif key == "s":
            self.started = time.monotonic()
        else:
            return False
        return True

    def below(self, columns: int) -> list[str]:
        if self.started is not None:
            self.play(demo_story.scene_at(time.monotonic() - self.started))
        playing, traffic = self.started is not None, self.traffic.on
        return demo_story.narration(self.scene, columns, playing=playing, traffic=traffic)

    def play(self, scene: demo_story.Scene) -> None:
        if scene is self.scene:
            return
        name, port = f"backend {BACKEND_PORTS[-1]}", BACKEND_PORTS[-1]
        before, self.scene = self.scene, scene
        if scene is demo_story.DEAD:
            self.demo.children[name].kill()
            self.demo.children[name].wait()
            return
        if before is demo_story.DEAD:
            self.demo.start_backend(port)
            if scene is not demo_story.RECOVERED and not self.demo.wait_for(port):
                return
        if scene.switches:
            switch(port, scene.switches)


def switch(port: int, switches: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", f"/_control?{switches}")
        connection.getresponse().read()
    except OSError:  # it has not come up again yet, and comes up well
        pass
    finally:
        connection.close()


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
    if demo.stage is not None:
        return None  # the dashboard itself shows how it comes up
    if not demo.wait_for(PROXY_PORT):
        return "aegis"
    if not demo.interactive:
        describe()
    return None


def run(demo: Demo) -> int:
    missing = bring_up(demo)
    if missing is None and demo.stage is not None:
        return Show(demo, demo.stage).run()
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
    demo = Demo(interactive=on_a_terminal())
    try:
        return run(demo)
    except Stopped:
        return 0
    finally:
        demo.stop()


if __name__ == "__main__":
    sys.exit(main())
