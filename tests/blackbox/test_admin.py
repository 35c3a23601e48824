"""The admin listener of the real program: what requests leave in the metrics, and the commands that ask it."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys

import gevent
import pytest
import yaml
from gevent.event import Event

from aegis.admin.client import AdminClient, UnreachableError
from tests.admin.exposed import CONTRACT, OPENMETRICS, parsed, value
from tests.support.aegis_process import PACKAGE, AegisProcess, config_for, environment, refuses, run_aegis
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import AbortedError, RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, hold, then_reset

pytestmark = pytest.mark.process


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


@pytest.fixture
def listen(socket_path):
    return f"unix:{socket_path}"


def is_ready(listen):
    """Whether the program there says it is; the listener opens a moment after the port."""
    try:
        return AdminClient(listen).snapshot().ready
    except UnreachableError:
        return False


@pytest.fixture
def start(backend, listen):
    """`start(**sections)`: the program with its admin listener, listening and probed."""
    running = []

    def start(*, ready=True, admin_section=None, **sections):
        config = config_for([backend], admin=admin_section or {"listen": listen}, **sections)
        running.append(AegisProcess(config).__enter__())
        if ready:
            eventually(lambda: is_ready(listen), "ready")
        return running[-1]

    yield start
    for each in running:
        each.__exit__()


def metrics_at(address):
    with RawClient(address) as client:
        response = client.get("/metrics", [("Accept", OPENMETRICS)], host="{}:{}".format(*address))
        assert response.status == 200
        assert response["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        return parsed(response.body)


@pytest.fixture
def scraped(backend):
    """(the program, its address for scrapes)."""
    address = free_port()
    config = config_for([backend], admin={"listen": "{}:{}".format(*address)}, server={"read_timeout": "300ms"})
    with AegisProcess(config) as aegis:
        eventually(lambda: not refuses(address), "the admin listener")
        yield aegis, address
        assert aegis.stop() == 0
    assert not [record for record in aegis.log if record["level"] == "ERROR"]


def test_the_exposition_has_every_name_of_the_contract(scraped):
    aegis, address = scraped
    with RawClient(aegis.address) as client:
        client.get("/")
    families = metrics_at(address)
    assert set(CONTRACT) <= set(families)
    for name, labels in CONTRACT.items():
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels


def test_what_requests_leave_in_the_metrics(scraped, backend):
    aegis, address = scraped
    backend.on("/oops", answer(503, body=b"x"))
    backend.on("/cut", then_reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"))
    with RawClient(aegis.address) as client:
        for _ in range(3):
            client.get("/")
        client.get("/oops")
        client.request("BREW", "/")
        client.read_response()
    with RawClient(aegis.address) as client:
        client.request("GET", "/cut")
        with pytest.raises(AbortedError):
            client.read_response()
    with RawClient(aegis.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHos")
        assert client.read_response().status == 408
    families = metrics_at(address)
    requests = "aegis_requests_total"
    assert value(families, requests, code="200", method="GET", reason="ok") == 3
    assert value(families, requests, code="503", method="GET", reason="ok") == 1
    assert value(families, requests, code="405", method="other", reason="method_not_allowed") == 1
    assert value(families, requests, code="200", method="GET", reason="backend_aborted") == 1
    assert value(families, requests, code="408", method="GET", reason="head_timeout") == 1
    assert value(families, "aegis_requests_aborted_total", side="backend") == 1
    assert value(families, "aegis_requests_aborted_total", side="client") == 0
    duration, response = families["aegis_request_duration_seconds"], families["aegis_backend_response_seconds"]
    assert [sample.value for sample in duration.samples if sample.name.endswith("_count")] == [7]
    assert [sample.value for sample in response.samples if sample.name.endswith("_count")] == [5]
    assert value(families, "aegis_connections_total", result="accepted") >= 3
    assert value(families, "aegis_ratelimit_requests_total", decision="allowed") == 5
    assert value(families, "aegis_backend_up", backend=backend.name) == 1
    assert value(families, "aegis_health_checks_total", backend=backend.name, result="pass") >= 1
    assert 0 <= value(families, "aegis_hub_lag_seconds") < 1


def test_a_request_under_way_is_in_flight_and_a_client_that_leaves_is_counted(scraped, backend):
    aegis, address = scraped
    release = Event()
    backend.on("/held", hold(release, HELLO))
    with RawClient(aegis.address) as client:
        client.request("GET", "/held")
        backend.wait_for("/held")
        families = metrics_at(address)
        assert value(families, "aegis_requests_in_flight") == 1
        assert value(families, "aegis_backend_in_flight", backend=backend.name) == 1
        assert value(families, "aegis_open_connections") == 1
    eventually(lambda: value(metrics_at(address), "aegis_requests_in_flight") == 0, "nothing in flight")
    families = metrics_at(address)
    release.set()
    assert value(families, "aegis_requests_total", code="499", method="GET", reason="client_gone") == 1
    assert value(families, "aegis_requests_aborted_total", side="client") == 1
    assert value(families, "aegis_open_connections") == 0


def test_requests_are_counted_when_access_lines_are_off(backend):
    address = free_port()
    config = config_for([backend], admin={"listen": "{}:{}".format(*address)}, logging={"level": "error"})
    with AegisProcess(config) as aegis:
        with RawClient(aegis.address) as client:
            client.get("/")
        eventually(lambda: not refuses(address), "the admin listener")
        assert value(metrics_at(address), "aegis_requests_total", code="200", method="GET", reason="ok") == 1
        assert aegis.stop() == 0
    assert aegis.access_lines() == []


def test_dropped_log_lines_are_in_the_metrics(backend):
    address = free_port()
    config = config_for([backend], admin={"listen": "{}:{}".format(*address)})
    with AegisProcess(config, read_output=False) as aegis, RawClient(aegis.address) as client:
        # Made fast by 405s: they cost no backend and keep the connection.
        pipelined = b"BREW / HTTP/1.1\r\nHost: example.test\r\n\r\n" * 500
        dropped = 0
        for _ in range(400):
            client.send(pipelined)
            for _ in range(500):
                client.read_response()
            dropped = value(metrics_at(address), "aegis_logs_dropped_total")
            if dropped:
                break
        assert dropped > 0
        aegis.process.kill()


# the socket's file


def test_the_unix_socket_is_ours_alone_and_gone_after_the_stop(start, socket_path):
    aegis = start()
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert aegis.stop() == 0
    assert not socket_path.exists()


def test_a_socket_left_by_a_killed_process_is_no_obstacle(start, socket_path):
    assert start().stop(signal.SIGKILL) == -signal.SIGKILL
    assert socket_path.exists()
    assert start().stop() == 0


def test_a_living_socket_is_exit_2_naming_file_line_key_and_value(start, listen, tmp_path):
    aegis = start()
    second_file = tmp_path / "second.yml"
    host, port = free_port()
    second_file.write_text(
        f"server: {{host: {host}, port: {port}}}\n"
        'backends: [{url: "http://127.0.0.1:1", weight: 1}]\n'
        "development: {allow_loopback_backends: true}\n"
        f'admin: {{listen: "{listen}"}}\n'
    )
    second = run_aegis("-c", str(second_file), "--headless")
    assert second.returncode == 2
    assert second.stderr.startswith(f"{second_file}:4: admin.listen = {listen}: another process answers there")
    assert run_aegis("check", "-c", str(second_file)).returncode == 0  # a check of the file that runs is no clash
    assert AdminClient(listen).snapshot().ready
    assert aegis.stop() == 0


def test_an_admin_port_that_is_taken_is_exit_1_naming_the_key(backend, tmp_path):
    address = free_port()
    file = tmp_path / "taken.yml"
    file.write_text(yaml.safe_dump(config_for([backend], admin={"listen": "{}:{}".format(*address)})))
    with socket.create_server(address):
        done = run_aegis("-c", str(file), "--headless")
    assert done.returncode == 1
    assert done.stderr.startswith("aegis: cannot start: admin.listen cannot be {}:{}: ".format(*address))
    assert "in use" in done.stderr


def test_the_main_port_that_is_taken_leaves_no_admin_socket_behind(backend, listen, socket_path, tmp_path):
    config = config_for([backend], admin={"listen": listen})
    file = tmp_path / "taken.yml"
    file.write_text(yaml.safe_dump(config))
    with socket.create_server((config["server"]["host"], config["server"]["port"])):
        done = run_aegis("-c", str(file), "--headless")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert not socket_path.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_admin_port_that_is_taken_leaves_no_socket_of_the_other_behind(
    backend, listen, socket_path, tmp_path, workers
):
    host, port = free_port()
    admin = {"listen": listen, "health_listen": f"{host}:{port}"}
    file = tmp_path / "taken.yml"
    file.write_text(yaml.safe_dump(config_for([backend], admin=admin, server={"workers": workers})))
    with socket.create_server((host, port)):
        done = run_aegis("-c", str(file), "--headless")
    assert done.returncode == 1
    assert done.stderr.startswith(f"aegis: cannot start: admin.health_listen cannot be {host}:{port}: ")
    assert not socket_path.exists()


def test_readiness_fails_while_draining_and_liveness_does_not(start, backend, listen):
    aegis = start()
    release = Event()
    backend.on("/held", hold(release, HELLO))
    with RawClient(aegis.address) as client:
        client.request("GET", "/held")
        backend.wait_for("/held")
        aegis.signal(signal.SIGTERM)
        eventually(lambda: AdminClient(listen).snapshot().not_ready == "stopping", "not ready any more")
        release.set()
        assert client.read_response().status == 200
    assert aegis.wait() == 0


def test_health_listen_serves_live_ready_and_metrics_only(start):
    host, port = free_port()
    start(ready=False, admin_section={"health_listen": f"{host}:{port}"})
    eventually(lambda: not refuses((host, port)), "the health listener")
    with RawClient((host, port)) as client:
        statuses = {path: client.get(path).status for path in ("/livez", "/metrics", "/snapshot", "/events", "/stacks")}
        assert statuses == {"/livez": 200, "/metrics": 200, "/snapshot": 404, "/events": 404, "/stacks": 404}
        eventually(lambda: client.get("/readyz").status == 200, "ready")


# the commands


def command(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "aegis", *arguments],
        cwd=PACKAGE,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_status_is_0_when_ready_by_option_variable_and_file(start, backend, listen, tmp_path):
    start()
    path = tmp_path / "own.yml"
    path.write_text(f'backends: [{{url: "http://192.0.2.1", weight: 1}}]\nadmin: {{listen: "{listen}"}}\n')
    for arguments, env in (
        (("status", "--connect", listen), {}),
        (("status",), {"AEGIS_ADMIN": listen}),
        (("status", "-c", str(path)), {}),
        (("-c", str(path), "status"), {}),
    ):
        done = command(*arguments, **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "ready" in done.stdout.splitlines()[0]
        assert backend.name in done.stdout


def test_status_is_1_when_not_ready_or_nobody_answers(start, backend, listen):
    start()
    assert command("drain", backend.name, "--connect", listen).returncode == 0
    eventually(lambda: not AdminClient(listen).snapshot().ready, "not ready")
    done = command("status", "--connect", listen)
    assert done.returncode == 1
    assert "NOT READY: no backend is eligible" in done.stdout
    gone = command("status", "--connect", f"{listen}.gone")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"aegis: no Aegis answers at {listen}.gone")


@pytest.mark.parametrize("verb", [("status",), ("drain", "a"), ("resume", "a"), ("reload",)])
def test_a_file_where_the_listener_is_off_is_exit_2_naming_the_key(tmp_path, verb):
    path = tmp_path / "off.yml"
    path.write_text('backends: [{url: "http://192.0.2.1", weight: 1}]\n')
    done = command(*verb, "-c", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "admin.listen" in done.stderr
    assert str(path) in done.stderr


def test_no_file_and_no_address_is_exit_2_naming_both_ways(tmp_path):
    done = command("status", "-c", str(tmp_path / "none.yml"))
    assert done.returncode == 2
    assert "--config" in done.stderr
    assert "--connect" in done.stderr


def test_an_address_that_is_none_is_exit_2():
    done = command("status", "--connect", "nowhere")
    assert done.returncode == 2
    assert "--connect nowhere: must be host:port" in done.stderr


def test_drain_waits_until_the_backend_is_empty_and_resume_brings_it_back(start, backend, listen):
    aegis = start()
    release = Event()
    backend.on("/held", hold(release, HELLO))
    with RawClient(aegis.address) as client, RawClient(aegis.address) as other:
        client.request("GET", "/held")
        backend.wait_for("/held")
        drain = subprocess.Popen(
            [sys.executable, "-m", "aegis", "drain", backend.name, "--connect", listen],
            cwd=PACKAGE,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = [drain.stdout.readline(), drain.stdout.readline()]
        assert lines == [f"{backend.name} gets no new requests, 1 in flight\n", f"{backend.name}: 1 in flight\n"]
        assert other.get("/new").status == 503
        assert drain.poll() is None
        release.set()
        assert client.read_response().status == 200
        assert drain.wait(10) == 0
        assert drain.stdout.read().endswith(f"{backend.name} is empty\n")
        drain.stdout.close()
        assert other.get("/new").status == 503
        assert command("resume", backend.name, "--connect", listen).stdout == f"{backend.name} gets requests again\n"
        assert other.get("/new").status == 200
    kinds = [event.kind for event in AdminClient(listen).events()]
    assert [kind for kind in kinds if kind in {"drain", "empty", "resume"}] == ["drain", "empty", "resume"]


def test_an_unknown_backend_is_exit_1_with_the_names_there_are(start, backend, listen):
    start()
    done = command("drain", "nobody", "--connect", listen)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"aegis: no backend is called nobody; there are: {backend.name}\n"


def test_events_of_a_start_are_remembered(start, listen):
    start()
    assert "Aegis is serving" in [event.message for event in AdminClient(listen).events()]


def test_accepting_that_pauses_is_an_event(start, backend, listen):
    release = Event()
    backend.on("/busy", hold(release, HELLO))
    aegis = start(server={"max_connections": 2})
    clients = [RawClient(aegis.address) for _ in range(3)]
    for client in clients:
        client.request("GET", "/busy")
    eventually(
        lambda: [event for event in AdminClient(listen).events() if event.kind == "paused"], "the event", within=5
    )
    assert AdminClient(listen).snapshot().connections.paused >= 1
    release.set()
    gevent.joinall([gevent.spawn(client.read_response) for client in clients], timeout=5)
    for client in clients:
        client.close()
