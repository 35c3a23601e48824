"""`make build`: the sdist and the wheel are whole, install into an empty environment, and serve from there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from aegis.version import __version__
from tests.support.aegis_process import config_for, environment
from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SHARED = (
    "share/man/man1/aegis.1",
    "share/bash-completion/completions/aegis",
    "share/zsh/site-functions/_aegis",
    "share/fish/vendor_completions.d/aegis.fish",
)


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment({"PYTHONPATH": ""}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """dist/ of a copy of what is in version control, so that nothing else can slip in."""
    copy = tmp_path_factory.mktemp("source")
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """A clean environment with the wheel and what it asks for, nothing else."""
    prefix = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", prefix, cwd=prefix)
    (wheel,) = packages.glob("*.whl")
    run(prefix / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=prefix)
    return prefix


def test_the_wheel_has_every_module_the_types_mark_and_what_is_shared(packages):
    (wheel,) = packages.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "aegis").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert "aegis/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]
    for shared in SHARED:
        assert any(name.endswith(f".data/data/{shared}") for name in names), shared


def test_the_sdist_has_all_that_is_needed_to_build_test_and_read(packages):
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("Makefile", "LICENSE", "requirements-dev.txt", "conf/aegis.yml", "docs/security.md", "aegis.yml"):
        assert name in names
    assert "tests/cases/refused" in names
    assert "scripts/fake_backend.py" in names


def test_the_installed_program_says_its_version_and_brings_its_man_page(installed):
    assert run(installed / "bin/aegis", "--version", cwd=installed) == f"aegis {__version__}\n"
    for shared in SHARED:
        assert (installed / shared).read_text().strip()


def test_the_installed_program_serves_and_stops(installed, tmp_path):
    with ScriptedBackend() as backend:
        config = config_for([backend])
        path = tmp_path / "aegis.yml"
        path.write_text(yaml.safe_dump(config))
        run(installed / "bin/aegis", "check", "-c", path, cwd=tmp_path)
        program = [str(installed / "bin/aegis"), "--config", str(path), "--headless"]
        with subprocess.Popen(
            program, cwd=tmp_path, env=environment({"PYTHONPATH": ""}), stdout=subprocess.DEVNULL
        ) as it:
            try:
                address = config["server"]["host"], config["server"]["port"]
                eventually(lambda: _answers(address), "an answer through the installed program", within=20)
                it.send_signal(signal.SIGTERM)
                assert it.wait(10) == 0
            finally:
                if it.poll() is None:
                    it.kill()


def _answers(address: tuple[str, int]) -> bool:
    try:
        with RawClient(address) as client:
            return client.get("/").body == b"hello"
    except OSError:
        return False
