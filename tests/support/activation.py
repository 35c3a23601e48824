"""A program that starts Aegis as a service manager with a socket of its own does (LISTEN_FDS)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

from tests.support.aegis_process import AegisProcess

ACTIVATE = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, "-m", "aegis", *sys.argv[2:]])
"""
"""Arguments: the descriptor of the socket, then those of Aegis."""


class ActivatedProcess(AegisProcess):
    """Its listener is handed to it, at another address than its configuration says."""

    def __init__(self, config: Mapping[str, Any], listener: socket.socket) -> None:
        super().__init__(config)
        self.listener = listener
        self.address = listener.getsockname()
        self.passed = (listener.fileno(),)

    def command(self) -> list[str]:
        return [sys.executable, "-c", ACTIVATE, str(self.listener.fileno()), *super().command()[3:]]
