"""`aegis check --probe`: exit 1 when a backend failed, and words for each."""

from __future__ import annotations

import pytest
import yaml

from tests.support.aegis_process import config_for, run_aegis
from tests.support.ports import free_port
from tests.support.scripted_backend import ScriptedBackend

pytestmark = pytest.mark.process


@pytest.fixture
def check(tmp_path):
    def check(backends, *arguments, **sections):
        path = tmp_path / "aegis.yml"
        path.write_text(yaml.safe_dump(config_for(backends, **sections)))
        return run_aegis("check", "--config", str(path), *arguments)

    return check


def test_every_backend_that_passes_is_named_and_the_exit_is_0(check):
    with ScriptedBackend() as a, ScriptedBackend() as b:
        result = check([a, b], "--probe")
        assert result.returncode == 0, result
        assert len(a.probes) == len(b.probes) == 1
        for backend in (a, b):
            assert f"probe of {backend.name}: passed in " in result.stderr
    assert yaml.safe_load(result.stdout)["backends"]


def test_a_backend_that_fails_is_exit_1_with_the_reason(check):
    host, port = free_port()
    with ScriptedBackend() as a:
        result = check([a, {"url": f"http://{host}:{port}", "weight": 1, "name": "gone"}], "--probe")
    assert result.returncode == 1, result
    assert f"probe of gone: cannot connect to {host}:{port}: Connection refused" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_the_option_no_backend_is_called(check):
    with ScriptedBackend() as a:
        assert check([a]).returncode == 0
        assert a.probes == []
