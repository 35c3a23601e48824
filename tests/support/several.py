"""An Aegis with workers, and clients that come from many addresses."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aegis.process.steering import GOLDEN
from tests.support.aegis_process import AegisProcess, config_for
from tests.support.poll import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scripted_backend import ScriptedBackend

SOURCES = [f"127.0.0.{number}" for number in range(2, 42)]
STARTED = "Aegis started"
DRAINED = "the old image has drained"


def several(backend: ScriptedBackend, admin: str = "", workers: int = 2, **sections: Any) -> AegisProcess:
    server = {"workers": workers, **sections.pop("server", {})}
    config = config_for([backend], server=server, **sections)
    if admin:
        config["admin"] = {"listen": admin, "allow_remote": True}
    return AegisProcess(config)


def started(aegis: AegisProcess) -> None:
    """Every worker serves."""
    eventually(lambda: STARTED in aegis.messages(), "the start line", 10)


@contextmanager
def running(backend: ScriptedBackend, **sections: Any) -> Iterator[AegisProcess]:
    """One that has started, and stops cleanly afterwards."""
    with several(backend, **sections) as aegis:
        started(aegis)
        yield aegis
        assert aegis.stop() == 0, aegis.errors
    assert "Traceback" not in aegis.errors + "\n".join(aegis.lines)


def worker_of(address: bytes, count: int) -> int:
    """What the program decides for a packed address, said once more."""
    word = int.from_bytes(address[:4], "big")
    if len(address) > 4:
        word ^= int.from_bytes(address[4:8], "big")
    return ((word * GOLDEN & 0xFFFFFFFF) >> 16) % count
