"""The fake backend over real sockets, in a process of its own: it patches gevent for itself."""

import http.client
import json
import re
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fake_backend.py"


@pytest.fixture(scope="module")
def process():
    command = [sys.executable, str(SCRIPT), "--ports", "0,0", "--names", "left,right"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        yield child
        child.kill()


@pytest.fixture(scope="module")
def ports(process):
    lines = [process.stdout.readline() for _ in range(2)]
    return [int(re.search(r":(\d+)$", line)[1]) for line in lines]


@pytest.fixture
def ask(ports):
    def ask(method, path, body=None, *, server=0):
        connection = http.client.HTTPConnection("127.0.0.1", ports[server], timeout=5)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    yield ask
    for server in range(2):
        ask("POST", "/_control?latency=0s&jitter=0s&error_rate=0&body_size=0&health=ok", server=server)


def test_each_answers_with_its_own_name(ask):
    assert [ask("GET", "/any/path", server=server) for server in range(2)] == [(200, b"left\n"), (200, b"right\n")]


def test_health_is_switched_at_run_time_and_for_one_backend_only(ask):
    assert ask("GET", "/health")[0] == 200
    ask("POST", "/_control?health=fail")
    assert ask("GET", "/health")[0] == 503
    assert ask("GET", "/health", server=1)[0] == 200


def test_error_rate_one_fails_every_answer_but_health_and_control(ask):
    ask("POST", "/_control?error_rate=1")
    assert ask("GET", "/")[0] == 500
    assert ask("GET", "/health")[0] == 200
    assert json.loads(ask("GET", "/_control")[1])["error_rate"] == 1


def test_body_size_pads_the_name(ask):
    ask("POST", "/_control?body_size=64")
    assert ask("GET", "/")[1] == b"left" + b"." * 59 + b"\n"


def test_a_switch_leaves_the_others_alone(ask):
    ask("POST", "/_control?latency=1ms")
    state = json.loads(ask("POST", "/_control?jitter=2ms")[1])
    assert (state["latency"], state["jitter"]) == (0.001, 0.002)


@pytest.mark.parametrize(
    "query", ["speed=9", "latency=fast", "error_rate=2", "error_rate=-1", "body_size=x", "health=?"]
)
def test_a_bad_switch_is_refused_and_changes_nothing(ask, query):
    before = ask("GET", "/_control")
    status, body = ask("POST", f"/_control?{query}")
    assert status == 400
    assert "error" in json.loads(body)
    assert ask("GET", "/_control") == before


def test_upload_answers_count_and_sum(ask):
    body = bytes(range(256)) * 1000
    answer = json.loads(ask("POST", "/upload", body)[1])
    assert answer == {"bytes": len(body), "sha256": sha256(body).hexdigest()}


@pytest.mark.parametrize("count", [0, 1, 65536, 200_001])
def test_bytes_streams_exactly_so_many(ask, count):
    assert len(ask("GET", f"/bytes/{count}")[1]) == count


def test_head_has_no_body(ask):
    assert ask("HEAD", "/bytes/100") == (200, b"")


def test_sse_sends_the_first_event_at_once(ports):
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=0.9)  # the second one comes after 1 s
    connection.request("GET", "/sse")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.readline() == b"id: 0\n"
    answer.close()
    connection.close()


def test_sigterm_stops_it_cleanly():
    command = [sys.executable, str(SCRIPT), "--ports", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0
