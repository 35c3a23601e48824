"""What the real program logs of itself: its start, its levels and formats, and a rotation."""

from __future__ import annotations

import re
import signal

import pytest

from tests.support.aegis_process import PACKAGE, ROOT, AegisProcess, config_for
from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def test_one_line_at_start_says_all_of_it(backend, tmp_path):
    listen = f"unix:{tmp_path}/admin.sock"
    config = config_for(
        [{"url": backend.url, "weight": 3, "name": "app-1"}],
        admin={"listen": listen},
        security={"allowed_backend_networks": ["10.1.0.0/16"]},
        server={"max_connections": 100},
    )
    with AegisProcess(config) as aegis:
        assert aegis.stop() == 0
    (line,) = [record for record in aegis.log if record["message"] == "Aegis started"]
    host, port = aegis.address
    assert re.fullmatch(r"\d+\.\d+\.\d+", line["version"])
    assert line["compiled"] is (PACKAGE != ROOT)  # make test-compiled runs what it says
    assert (line["level"], line["listen"], line["workers"], line["admin"]) == ("INFO", f"{host}:{port}", 1, listen)
    assert line["backends"] == [f"app-1 weight=3 at {backend.name}"]
    assert line["config"].endswith("aegis.yml")
    assert line["opened_networks"] == ["10.1.0.0/16", "loopback (development.allow_loopback_backends)"]
    assert [record["level"] for record in aegis.log if record["level"] != "INFO"] == []  # nothing differs


@pytest.mark.parametrize(
    ("level", "option", "access", "stops"),
    [
        ("info", None, True, True),
        ("warn", None, False, False),
        ("error", None, False, False),
        ("error", "info", True, True),
        ("debug", "warn", False, False),
    ],
)
def test_the_level_holds_and_the_option_wins_over_the_file(backend, level, option, access, stops):
    arguments = ("--log-level", option) if option else ()
    with AegisProcess(config_for([backend], logging={"level": level}), *arguments) as aegis:
        with RawClient(aegis.address) as client:
            client.get("/")
        assert aegis.stop() == 0
    assert bool(aegis.access_lines()) is access
    assert ("Aegis shutdown complete" in aegis.messages()) is stops


def test_the_text_format_is_time_level_message_and_pairs_for_every_line(backend):
    with AegisProcess(config_for([backend], logging={"format": "text"})) as aegis:
        with RawClient(aegis.address) as client:
            client.get("/a b".replace(" ", "%20"))
        assert aegis.stop() == 0
    assert len(aegis.lines) >= 3
    for line in aegis.lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S", line), line
    assert [line for line in aegis.lines if " INFO request " in line and " path=/a%20b " in line]


def test_sigusr1_goes_on_in_a_new_file_and_loses_no_line(backend, tmp_path):
    file, old = tmp_path / "aegis.log", tmp_path / "aegis.log.1"
    with AegisProcess(config_for([backend], logging={"file": str(file)})) as aegis:
        with RawClient(aegis.address) as client:
            for number in range(50):
                client.get(f"/before/{number}")
            file.rename(old)
            client.get("/between")
            aegis.signal(signal.SIGUSR1)
            eventually(file.exists, "the new file")
            for number in range(50):
                client.get(f"/after/{number}")
        assert aegis.stop() == 0
    both = old.read_text() + file.read_text()
    assert len(re.findall(r'"path":"/(?:before|after)/', both)) == 100
    assert both.count('"path":"/between"') == 1
    assert "log file reopened" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert aegis.lines == []


def test_a_file_that_cannot_be_reopened_is_told_and_the_old_one_stays(backend, tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    moved = tmp_path / "moved"
    with AegisProcess(config_for([backend], logging={"file": str(directory / "aegis.log")})) as aegis:
        directory.rename(moved)
        aegis.signal(signal.SIGUSR1)
        eventually(lambda: "could not be reopened" in (moved / "aegis.log").read_text(), "the words")
        with RawClient(aegis.address) as client:
            client.get("/still")
        assert aegis.stop() == 0
    assert '"path":"/still"' in (moved / "aegis.log").read_text()
