"""A program that starts Aegis as a service manager with a socket of its own does (LISTEN_FDS)."""

from __future__ import annotations

ACTIVATE = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, "-m", "aegis", *sys.argv[2:]])
"""
"""Arguments: the descriptor of the socket, then those of Aegis."""
