"""SIGHUP: what a reload changes, what survives it, and what it costs those who are being served: nothing."""

from __future__ import annotations

import os
import signal
import socket

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for, run_aegis
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, before_body

pytestmark = pytest.mark.process


def with_section(config, name, **keys):
    return {**config, name: {**config.get(name, {}), **keys}}


@pytest.fixture
def backends():
    with ScriptedBackend() as one, ScriptedBackend() as two, ScriptedBackend() as three:
        yield one, two, three


@pytest.fixture
def config(backends):
    return config_for(backends[:1])


@pytest.fixture
def aegis(config):
    with AegisProcess(config) as process:
        yield process
        assert process.running, process.errors
        assert process.stop() == 0, process.errors
    assert "Traceback" not in process.errors + "\n".join(process.lines)


def test_an_unchanged_file_applies_nothing_and_says_so(aegis):
    line = aegis.reload()
    assert (line["applied"], line["needs_restart"]) == ("", "")


@pytest.mark.parametrize(
    "text", ["server: {port: [}", "server: {prot: 80}\nbackends: [{url: http://127.0.0.1:1, weight: 1}]", ""]
)
def test_an_invalid_file_changes_nothing_and_says_so(aegis, config, text):
    aegis.path.write_text(text)
    line = aegis.reload(accepted=False)
    assert line["level"] == "ERROR"
    assert str(aegis.path) in line["error"]
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    assert aegis.reload(config)["applied"] == ""


def test_a_backend_that_may_not_be_connected_to_refuses_the_whole_reload(aegis, config):
    bad = with_section(config, "rate_limit", burst=7)
    bad["backends"] = [*config["backends"], {"url": "http://169.254.169.254", "weight": 1}]
    assert "169.254.169.254" in aegis.reload(bad, accepted=False)["error"]
    with RawClient(aegis.address) as client:
        assert ";q=1000000;" in client.get("/")["RateLimit-Policy"]


def test_the_answer_lists_what_was_applied_and_what_needs_a_restart(aegis, config):
    _, port = aegis.address
    changed = with_section(with_section(config, "rate_limit", burst=321), "server", port=port + 1, idle_timeout="7s")
    line = aegis.reload(changed)
    assert "rate_limit.burst: 1000000 → 321" in line["applied"]
    assert "server.idle_timeout: 2m → 7s" in line["applied"]
    assert line["needs_restart"] == f"server.port: {port} → {port + 1}"
    assert aegis.reload()["needs_restart"] == line["needs_restart"]  # it is still not in force
    with RawClient(aegis.address) as client:
        assert ";q=321;" in client.get("/")["RateLimit-Policy"]


def test_hosts_methods_and_body_size_are_live_on_open_connections_too(aegis, config):
    with RawClient(aegis.address) as client:
        assert client.get("/", host="example.test").status == 200
        aegis.reload(
            with_section(config, "server", allowed_hosts=["other.test"], allowed_methods=["GET", "POST"],
                         max_body_bytes=10)
        )  # fmt: skip
        assert client.get("/", host="other.test").status == 200
        client.request("DELETE", "/", host="other.test")
        assert client.read_response().status == 405
        client.request("POST", "/", host="other.test", body=b"x" * 11)
        assert client.read_response().status == 413
    with RawClient(aegis.address) as client:
        assert client.get("/", host="example.test").status == 400


def test_wire_timeouts_and_sizes_are_live(aegis, config):
    aegis.reload(with_section(config, "server", read_timeout="200ms", max_header_bytes=300))
    with RawClient(aegis.address) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_response().status == 408
    with RawClient(aegis.address) as client:
        assert client.get("/", [("X-Long", "x" * 300)]).status == 431


def test_timeouts_toward_backends_are_live(aegis, config, backends):
    backends[0].on("/silent", before_body(lambda connection, request: connection.wait_until_peer_leaves(5)))
    aegis.reload(with_section(config, "transport", response_header_timeout="200ms"))
    with RawClient(aegis.address) as client:
        assert client.get("/silent").status == 502
    aegis.wait_for_access(reason="backend_timeout")


def test_the_cap_on_parked_connections_is_live(aegis, config, backends):
    with Load(aegis.address, clients=6) as load:
        load.more(100)
    assert load.failures == []
    eventually(lambda: backends[0].open_connections() > 2, "parked connections")
    aegis.reload(with_section(config, "transport", max_idle_per_backend=1))
    eventually(lambda: backends[0].open_connections() == 1, "one parked connection")


def test_trusted_proxies_are_live_on_open_connections_too(aegis, config, backends):
    with RawClient(aegis.address) as client:
        client.get("/trust", [("X-Request-ID", "mine-1")])
        aegis.reload(with_section(config, "security", trusted_proxies=["127.0.0.0/8"]))
        client.get("/trust", [("X-Request-ID", "mine-2")])
    first, second = backends[0].asked("/trust")
    assert first["X-Request-ID"] != "mine-1"
    assert second["X-Request-ID"] == "mine-2"


def test_logging_is_live_level_format_and_file(aegis, config, tmp_path):
    file = tmp_path / "aegis.log"
    aegis.write_config(with_section(config, "logging", file=str(file), format="text"))
    aegis.signal(signal.SIGHUP)
    eventually(lambda: file.exists() and "INFO configuration reloaded" in file.read_text(), "the answer in the file")
    with RawClient(aegis.address) as client:
        client.get("/in-the-file")
        eventually(lambda: "path=/in-the-file" in file.read_text(), "an access line in the file")
        aegis.write_config(with_section(config, "logging", level="error"))
        aegis.signal(signal.SIGHUP)
        eventually(lambda: refuses_lines(aegis, client), "no more access lines")
    assert "/quiet" not in file.read_text()


def refuses_lines(aegis, client):
    before = len(aegis.lines)
    client.get("/quiet")
    gevent.sleep(0.25)
    return len(aegis.lines) == before


def test_a_log_file_that_cannot_be_opened_refuses_the_reload(aegis, config):
    changed = with_section(with_section(config, "logging", file="/nonexistent/aegis.log"), "rate_limit", burst=5)
    assert "logging.file" in aegis.reload(changed, accepted=False)["error"]
    with RawClient(aegis.address) as client:
        assert ";q=5;" not in client.get("/")["RateLimit-Policy"]


def test_a_log_pipe_that_nobody_reads_refuses_the_reload_and_holds_nobody_up(aegis, config, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    changed = with_section(config, "logging", file=str(pipe))
    assert "logging.file" in aegis.reload(changed, accepted=False)["error"]
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200


def test_another_backend_behind_the_same_name_is_probed_at_once(backends):
    config = config_for([{"name": "app", "url": backends[0].url, "weight": 1}])
    with AegisProcess(config) as aegis:
        eventually(lambda: backends[0].probes, "the first probe")
        aegis.reload({**config, "backends": [{"name": "app", "url": backends[1].url, "weight": 1}]})
        eventually(lambda: backends[1].probes, "the first probe of the other one")
        assert aegis.stop() == 0


def test_readiness_lasts_while_a_backend_that_was_added_is_probed_for_the_first_time(backends):
    admin = free_port()
    config = config_for(backends[:1], admin={"listen": "{}:{}".format(*admin)})
    with socket.create_server(free_port()) as mute, AegisProcess(config) as aegis:
        eventually(lambda: readiness(admin) == 200, "ready")
        host, port = mute.getsockname()
        aegis.reload({**config, "backends": [*config["backends"], {"url": f"http://{host}:{port}", "weight": 1}]})
        probing, _ = mute.accept()
        with probing:
            assert readiness(admin) == 200
        assert aegis.stop() == 0


def readiness(admin):
    try:
        with RawClient(admin) as client:
            return client.get("/readyz").status
    except ConnectionRefusedError:  # it opens a moment after the port
        return 0


def test_the_log_level_of_the_command_line_outlives_reloads(backends, config):
    with AegisProcess(with_section(config, "logging", level="error"), "--log-level", "info") as aegis:
        aegis.reload(with_section(config, "logging", level="error", format="json"))
        with RawClient(aegis.address) as client:
            client.get("/still")
        aegis.wait_for_access(path="/still")
        assert aegis.stop() == 0


def test_buckets_and_rate_survive_a_reload(aegis, config):
    limited = with_section(config, "rate_limit", requests_per_second=1, burst=3)
    limited = with_section(limited, "adaptive", min_rate=1)
    aegis.reload(limited)
    with RawClient(aegis.address) as client:
        statuses = [client.get("/").status for _ in range(4)]
        aegis.reload(with_section(limited, "rate_limit", cleanup_interval="5s"))
        statuses.append(client.get("/").status)
    assert statuses == [200, 200, 200, 429, 429]


def test_backends_come_go_and_are_reweighted_under_load_without_a_failed_request(aegis, config, backends):
    urls = [backend.url for backend in backends]

    def pool(*weights):
        entries = [{"url": url, "weight": weight} for url, weight in zip(urls, weights, strict=True) if weight]
        return {**config, "backends": entries}

    with Load(aegis.address, clients=8) as load:
        load.more()
        for weights in ((1, 1, 0), (1, 3, 2), (0, 1, 2), (0, 0, 1), (2, 0, 1)):
            aegis.reload(pool(*weights))
            marks = [backend.mark() for backend in backends]
            load.more(300)
            shares = [len(mark.completed()) for mark in marks]
            assert [bool(weight) for weight in weights] == [share > 10 for share in shares], (weights, shares)
    assert load.failures == []
    assert load.answered > 1500


def test_an_open_connection_and_a_request_in_flight_survive_a_reload(aegis, config, backends):
    release = gevent.event.Event()

    def held(connection, request):
        release.wait(5)
        connection.send(answer(body=b"held"))

    backends[0].on("/held", held)
    with RawClient(aegis.address) as client:
        client.request("GET", "/held")
        backends[0].wait_for("/held")
        aegis.reload({**config, "backends": [{"url": backends[1].url, "weight": 1}]})  # its backend goes meanwhile
        release.set()
        assert client.read_response().body == b"held"
        assert client.get("/next").status == 200
    assert backends[1].asked("/next")
    eventually(lambda: backends[0].open_connections() == 0, "no connection to a backend that went")


def test_a_long_download_through_a_backend_that_stays_lives_through_five_reloads(aegis, config, backends):
    size, steps = 5 << 20, 5
    gate = [gevent.event.Event() for _ in range(steps)]

    def script(connection, request):
        connection.send(answer(length=size * steps))
        for event in gate:
            connection.send(b"\7" * size)
            event.wait(10)

    backends[0].on("/long", script)
    with RawClient(aegis.address, timeout=10) as client:
        client.request("GET", "/long")
        assert client.read_head()["Content-Length"] == str(size * steps)
        got = 0
        for number, event in enumerate(gate, 1):
            while got < size * number:
                data = client.receive()
                assert data
                got += len(data)
            entries = [{"url": backends[0].url, "weight": number}, {"url": backends[1].url, "weight": 1}]
            aegis.reload({**with_section(config, "rate_limit", burst=100 + number), "backends": entries})
            event.set()
        assert got == size * steps
    assert aegis.wait_for_access(path="/long")["bytes_out"] == size * steps


def test_check_against_says_what_is_live_and_what_needs_a_restart(tmp_path, config):
    import yaml

    old, new = tmp_path / "old.yml", tmp_path / "new.yml"
    old.write_text(yaml.safe_dump(config))
    new.write_text(yaml.safe_dump(with_section(with_section(config, "rate_limit", burst=9), "server", workers=2)))
    done = run_aegis("check", "--config", str(new), "--against", str(old))
    assert done.returncode == 0, done.stderr
    live, restart = done.stdout.split("# a reload would apply:")[1].split("# only a restart would apply:")
    assert "#   rate_limit.burst: 1000000 → 9" in live
    assert "#   server.workers: 1 → 2" in restart
    assert yaml.safe_load(done.stdout)["rate_limit"]["burst"] == 9  # what comes behind the configuration is comment
    same = run_aegis("check", "--config", str(new), "--against", str(new)).stdout
    assert same.endswith("# a reload would apply: nothing\n# only a restart would apply: nothing\n")


def test_check_against_a_file_that_is_not_right_is_exit_2(tmp_path, config):
    import yaml

    new = tmp_path / "new.yml"
    new.write_text(yaml.safe_dump(config))
    assert run_aegis("check", "--config", str(new), "--against", str(tmp_path / "none.yml")).returncode == 2
