"""The picture of the dashboard in the README: a live run in a terminal emulator, drawn as SVG (needs pyte).

.venv/bin/python scripts/picture.py [docs/dashboard.svg]: starts four fake backends, traffic and Aegis; one backend
fails, one comes back, one is slow; it is drawn once the screen shows an open breaker, a warm-up and a cut rate.
"""

import contextlib
import fcntl
import http.client
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.demo_traffic import Traffic  # noqa: E402 - found from the root, wherever it is started

COLUMNS, ROWS = 110, 30
PORT, BACKENDS = 18480, (18481, 18482, 18483, 18484)
WANTED = ("OPEN", "×50%", "CUT")
WITHIN = 40.0  # seconds until the screen has to show all of WANTED

CELL, LINE, MARGIN = 8.4, 18, 14  # pixels
BACKGROUND, FOREGROUND = "#14181f", "#d6dbe3"
COLOURS = {
    "default": FOREGROUND,
    "black": "#3b4252",
    "red": "#ff6b6b",
    "green": "#7bd88f",
    "brown": "#ffd166",  # what pyte calls yellow
    "yellow": "#ffd166",
    "blue": "#6cb6ff",
    "magenta": "#d2a8ff",
    "cyan": "#63d4d5",
    "white": FOREGROUND,
    "brightblack": "#7d8796",
}

CONFIG = """
server: {{host: 127.0.0.1, port: {port}, allowed_hosts: ["*"]}}
backends:
  - {{name: app-1, url: "http://127.0.0.1:{a}", weight: 2}}
  - {{name: app-2, url: "http://127.0.0.1:{b}", weight: 1}}
  - {{name: app-3, url: "http://127.0.0.1:{c}", weight: 2}}
  - {{name: app-4, url: "http://127.0.0.1:{d}", weight: 1}}
health_check: {{interval: 1s, timeout: 500ms, unhealthy_threshold: 2}}
rate_limit: {{requests_per_second: 50, burst: 80}}
adaptive: {{evaluation_interval: 2s, latency_threshold_ms: 100, max_rate: 55}}
metrics: {{window: 5s}}
development: {{allow_loopback_backends: true}}
"""


def svg(screen: pyte.Screen) -> str:
    """The screen as an image of text: it can be selected, and scales."""
    width, height = screen.columns * CELL + 2 * MARGIN, screen.lines * LINE + 2 * MARGIN
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-size="14" '
            'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" xml:space="preserve">'
        ),
        "<title>The dashboard of Aegis</title>",
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>',
    ]
    for row in range(screen.lines):
        parts += _row(screen, row)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(screen: pyte.Screen, row: int) -> Iterator[str]:
    cells = screen.buffer[row]
    column, top = 0, MARGIN + row * LINE
    styled = ((cells[number].data, _style(cells[number])) for number in range(screen.columns))
    for style, run in groupby(styled, key=lambda cell: cell[1]):
        texts = [text for text, _ in run]
        text, length = "".join(texts), len(texts)
        colour, background, bold = style
        left, width = MARGIN + column * CELL, length * CELL
        column += length
        if background:
            yield f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{LINE}" fill="{background}"/>'
        if text.strip():
            weight = ' font-weight="bold"' if bold else ""
            yield (
                f'<text x="{left:g}" y="{top + 14}" textLength="{width:g}" lengthAdjust="spacingAndGlyphs" '
                f'fill="{colour}"{weight}>{escape(text)}</text>'
            )


def _style(cell: pyte.screens.Char) -> tuple[str, str, bool]:
    """(colour of the text, of what lies behind it or "", bold)."""
    colour = COLOURS.get(cell.fg, FOREGROUND)
    return (BACKGROUND, colour, cell.bold) if cell.reverse else (colour, "", cell.bold)


def switch(port: int, switches: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("POST", f"/_control?{switches}")
    connection.getresponse().read()
    connection.close()


def backend(port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "scripts/fake_backend.py", "--ports", str(port), "--latency", "3ms", "--jitter", "9ms"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.05)
    return child


@contextlib.contextmanager
def dashboard(screen: pyte.Screen) -> Iterator[int]:
    """Aegis on a pseudo-terminal; the descriptor to read."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", screen.lines, screen.columns, 0, 0))
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "aegis.yml").write_text(CONFIG.format(port=PORT, **dict(zip("abcd", BACKENDS, strict=True))))
        environment = os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        environment.pop("NO_COLOR", None)
        aegis = subprocess.Popen(
            [sys.executable, "-m", "aegis", "-c", "aegis.yml"],
            cwd=directory,
            stdin=slave,
            stdout=slave,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            yield master
        finally:
            aegis.terminate()
            aegis.wait()


def watch(master: int, stream: pyte.ByteStream, seconds: float, until: tuple[str, ...] = ()) -> bool:
    """Feed the emulator for so long, or until all these words are on its screen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            stream.feed(os.read(master, 65536))
        text = "\n".join(stream.listener.display)
        if until and all(words in text for words in until):
            return True
    return not until


def live(screen: pyte.Screen) -> bool:
    """Let the run bring the screen to what is wanted."""
    children = {port: backend(port) for port in BACKENDS}
    traffic = Traffic(PORT)
    stream = pyte.ByteStream(screen)
    try:
        with dashboard(screen) as master:
            traffic.start()
            watch(master, stream, 20)
            _, failing, gone, slow = BACKENDS
            children[gone].kill()
            children[gone].wait()
            switch(slow, "latency=300ms")
            watch(master, stream, 5)
            switch(failing, "error_rate=1")
            children[gone] = backend(gone)
            return watch(master, stream, WITHIN, WANTED)
    finally:
        traffic.stop()
        for child in children.values():
            child.kill()
            child.wait()


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "dashboard.svg"
    screen = pyte.Screen(COLUMNS, ROWS)
    if not live(screen):
        print(f"picture: within {WITHIN:g} s the screen did not show {WANTED}:", *screen.display, sep="\n")
        return 1
    target.write_text(svg(screen))
    print(f"picture: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
