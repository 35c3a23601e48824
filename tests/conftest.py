"""Guards over every test: the network ends at loopback, and a greenlet that dies fails the test it died in."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

import gevent
import pytest

from tests.support import network_guard


@pytest.fixture(scope="session", autouse=True)
def loopback_only():
    """Refuse every connect that would leave the machine."""
    network_guard.arm()
    yield
    network_guard.disarm()


@pytest.fixture(autouse=True)
def dying_greenlets(monkeypatch):
    """Collect what greenlets die of; gevent itself only prints it, and the test would pass."""
    hub, deaths = gevent.get_hub(), []
    expected = (*hub.NOT_ERROR, *hub.SYSTEM_ERROR)
    original = hub.handle_error

    def handle_error(context, kind, value, tb):
        if isinstance(kind, type) and not issubclass(kind, expected):
            deaths.append("".join(traceback.format_exception(kind, value, tb)) + f"in {context!r}")
        original(context, kind, value, tb)

    monkeypatch.setattr(hub, "handle_error", handle_error)
    yield deaths
    assert not deaths, "a greenlet died:\n" + "\n".join(deaths)


@pytest.fixture
def socket_path():
    """Where a UNIX socket may be: `tmp_path` may be longer than the kernel takes, and than Aegis quotes it."""
    with tempfile.TemporaryDirectory(prefix="aegis-test-") as directory:
        yield Path(directory) / "admin.sock"
