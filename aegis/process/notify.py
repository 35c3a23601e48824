"""What Aegis tells systemd (sd_notify): ready, reloading, stopping, a status line, and that its loop turns.

Knows neither the configuration nor the parts. Without NOTIFY_SOCKET everything here does nothing.
"""

import logging
import os
import socket
from collections.abc import Mapping
from time import monotonic_ns

log = logging.getLogger(__name__)


class Notifier:
    """Sends to the datagram socket of the service manager; never waits for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract name.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_interval = _half_of_watchdog(environ) if path else 0.0

    def __repr__(self) -> str:
        return f"<Notifier {self._address.replace(chr(0), '@') or 'off'}>"

    def __bool__(self) -> bool:
        return bool(self._address)

    def mute(self) -> None:
        """Say nothing from now on: another process speaks for this service."""
        self._address, self.watchdog_interval = "", 0.0

    def ready(self, status: str) -> None:
        """Start or reload is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload or a restart begins; without the time `systemctl reload` hangs on newer versions."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The drain begins."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """Run as a job every `watchdog_interval` seconds: says that the loop turns."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(self._address)
                sock.send(text.encode())
        except OSError as error:
            # A manager that does not listen must not end what it manages.
            log.warning("the service manager could not be told %s: %s", text.partition("\n")[0], error)


def _half_of_watchdog(environ: Mapping[str, str]) -> float:
    """Seconds between two signs of life, half of what the manager waits for; 0 when it does not watch this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    except ValueError:
        return 0.0
