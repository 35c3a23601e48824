"""The real program before a scripted backend, one pair a module.

A module that needs other settings says so: `CONFIG = {"server": {"read_timeout": "300ms"}}`.
"""

from __future__ import annotations

import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend


@pytest.fixture(scope="module")
def backend():
    with ScriptedBackend() as scripted:
        yield scripted
    assert not scripted.faults, f"what the proxy sent to its backend: {scripted.faults}"


@pytest.fixture(scope="module")
def aegis(request, backend):
    with AegisProcess(config_for([backend], **getattr(request.module, "CONFIG", {}))) as process:
        yield process
        assert process.running, process.errors
        assert process.stop() == 0, process.errors
    ours = [text for text, record in zip(process.lines, process.log, strict=True) if record["level"].upper() == "ERROR"]
    assert not ours, "an ERROR is a fault of the program:\n" + "\n".join(ours)
    assert "Traceback" not in process.errors, process.errors


@pytest.fixture
def connect(aegis):
    """Open connections to the program of this module; closed when the test ends."""
    clients = []

    def connect(**options):
        client = RawClient(aegis.address, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect):
    return connect()
