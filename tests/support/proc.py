"""What /proc says of the processes of one Aegis: who listens, and how many connections each has."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.aegis_process import _family

if TYPE_CHECKING:
    from tests.support.aegis_process import AegisProcess

LISTENING, ESTABLISHED = "0A", "01"


def workers_of(aegis: AegisProcess) -> list[int]:
    """PIDs of the processes that listen but for the supervisor: each closes what is not its own."""
    return [pid for pid in _family(aegis.process.pid)[1:] if connections_of(pid, aegis.address, LISTENING)]


def connections_of(pid: int, address: tuple[str, int], state: str = ESTABLISHED) -> set[str]:
    """The inodes of a process's sockets in this state whose own end is the address."""
    return _sockets_at(address, state) & sockets_of(pid)


def sockets_of(pid: int) -> set[str]:
    """The inodes of all sockets of a process; none once it is gone."""
    found = set()
    for entry in _descriptors(pid):
        with contextlib.suppress(OSError):
            found |= set(re.findall(r"^socket:\[(\d+)\]$", str(entry.readlink())))
    return found


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def state_of(pid: int) -> str:
    """One letter; Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _sockets_at(address: tuple[str, int], state: str) -> set[str]:
    host, port = address
    packed = f":{port:04X}"
    if ":" not in host:
        packed = bytes(map(int, host.split(".")))[::-1].hex().upper() + packed
    table = "tcp6" if ":" in host else "tcp"
    rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(packed) and row[3] == state}
