"""What `aegis` says when it is called wrongly or its file is wrong: exit 2, file and line, and nothing was opened."""

from __future__ import annotations

import re

import pytest

from tests.support.aegis_process import refuses, run_aegis
from tests.support.ports import free_port

pytestmark = pytest.mark.process

GOOD = """\
server:
  host: "{host}"
  port: {port}
backends:
  - url: "{url}"
    weight: 1
development:
  allow_loopback_backends: true
"""


def write(tmp_path, backend, *changes):
    """aegis.yml from GOOD with `old → new` replacements, and the address it would listen on."""
    host, port = free_port()
    text = GOOD.format(host=host, port=port, url=backend.url)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "aegis.yml"
    path.write_text(text)
    return path, (host, port)


def refused_start(path, address, backend):
    """What it writes to stderr when it refuses the file; nothing was opened, nobody was called."""
    mark = backend.mark()
    result = run_aegis("--config", str(path), "--headless")
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    assert refuses(address)
    assert mark.received() == b""
    return result.stderr


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("  port: ", "  prot: 1\n  port: "), 3, ["server.prot", "port"]),
        (("weight: 1", "weight: -1"), 6, ["weight", "-1"]),
        (("weight: 1", "weight: 0"), 5, ["weight"]),
        (("weight: 1", "weight: heavy"), 6, ["weight", "heavy"]),
        (("development:", "server:\n  read_timeout: 1s\ndevelopment:"), 7, ["server"]),
        (("development:", "develompent:"), 7, ["development"]),
        (("  host: ", "  read_timeout: 5\n  host: "), 2, ["read_timeout", "5"]),
        (("  host: ", "  read_timeout: 0s\n  host: "), 2, ["read_timeout"]),
        (("  host: ", "  read_timeout: ${AEGIS_TEST_UNSET}\n  host: "), 2, ["AEGIS_TEST_UNSET"]),
        (("  host: ", "  allowed_hosts: [*.a.test]\n  host: "), 2, ["quotes"]),
    ],
    ids=[
        *("unknown-key", "negative-weight", "no-weight-above-0", "wrong-type", "duplicate-key", "unknown-section"),
        *("duration-without-unit", "zero-timeout", "unset-variable", "unquoted-star"),
    ],
)
def test_configuration_error_names_file_line_key_and_opens_nothing(tmp_path, backend, change, line, words):
    path, address = write(tmp_path, backend, change)
    message = refused_start(path, address, backend)
    assert f"{path}:{line}" in message or f"{path.name}:{line}" in message, message
    assert [word for word in words if word not in message] == [], message


def test_all_errors_of_a_file_are_reported_at_once(tmp_path, backend):
    path, address = write(tmp_path, backend, ("weight: 1", "weight: -1"), ("  port: ", "  prot: 1\n  port: "))
    message = refused_start(path, address, backend)
    assert re.search(r"aegis\.yml:3\b", message)
    assert re.search(r"aegis\.yml:7\b", message)


@pytest.mark.parametrize("port", ["0", "65536", "-1", '"http"'])
def test_port_out_of_range_is_refused(tmp_path, backend, port):
    path, address = write(tmp_path, backend)
    path.write_text(re.sub(r"port: \d+", f"port: {port}", path.read_text(), count=1))
    assert "server.port" in refused_start(path, address, backend)


def test_loopback_backend_is_refused_without_the_development_key(tmp_path, backend):
    path, address = write(tmp_path, backend, ("allow_loopback_backends: true", "allow_loopback_backends: false"))
    message = refused_start(path, address, backend)
    assert "allow_loopback_backends" in message
    assert backend.address[0] in message


FORBIDDEN_ADDRESSES = [
    *("10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "169.254.1.1", "100.64.0.1", "100.100.100.200"),
    *("0.0.0.0", "224.0.0.1", "240.0.0.1", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[::]", "[ff02::1]"),
    *("[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a00:1::]"),
    *("167772161", "0x0a000001", "012.0.0.1", "10.1", "0xa.1"),
]
FORBIDDEN_URLS = [
    *("ftp://93.184.216.34", "93.184.216.34:80", "//93.184.216.34", "unix:/run/a.sock", "http://"),
    *(
        "http://user:pass@93.184.216.34",
        "http://93.184.216.34/path",
        "http://93.184.216.34?q",
        "http://93.184.216.34#f",
    ),
    *("http://93.184.216.34:0", "http://93.184.216.34:65536", "http://93.184.216.34:http"),
]


@pytest.mark.parametrize(
    "urls",
    [[f"http://{host}" for host in FORBIDDEN_ADDRESSES], FORBIDDEN_URLS],
    ids=["addresses", "urls"],
)
def test_forbidden_backends_are_refused_each_by_its_line(tmp_path, backend, urls):
    """Loopback is open here: it must open nothing else."""
    path, address = write(tmp_path, backend)
    lines = path.read_text().splitlines()
    lines[4:6] = [line for url in urls for line in (f'  - url: "{url}"', "    weight: 1")]
    path.write_text("\n".join([*lines, ""]))
    message = refused_start(path, address, backend)
    missing = [url for index, url in enumerate(urls) if not re.search(rf"aegis\.yml:{5 + 2 * index}\b", message)]
    assert missing == [], message


@pytest.mark.parametrize("key", ["url", "weight"])
def test_url_and_weight_of_a_backend_are_required(tmp_path, backend, key):
    path, address = write(tmp_path, backend)
    kept = (
        re.sub(r"- url: .*\n\s+", "- ", path.read_text())
        if key == "url"
        else path.read_text().replace("    weight: 1\n", "")
    )
    path.write_text(kept)
    assert key in refused_start(path, address, backend)


def test_file_without_backends_is_refused(tmp_path, backend):
    path, address = write(tmp_path, backend)
    path.write_text(re.sub(r"backends:\n.*\n.*\n", "", path.read_text()))
    assert "backends" in refused_start(path, address, backend)


def test_missing_file_is_exit_2_and_named(tmp_path):
    result = run_aegis("--config", str(tmp_path / "nowhere.yml"), "--headless")
    assert result.returncode == 2
    assert "nowhere.yml" in result.stderr


def test_unknown_option_is_exit_2():
    assert run_aegis("--no-such-option").returncode == 2


def test_version_is_one_line():
    result = run_aegis("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"aegis \d+\.\d+\.\d+\S*\n", result.stdout)


def test_check_passes_a_good_file_and_prints_what_is_in_effect(tmp_path, backend):
    path, address = write(tmp_path, backend)
    mark = backend.mark()
    result = run_aegis("check", "-c", str(path))
    assert result.returncode == 0, result
    assert str(address[1]) in result.stdout
    assert "response_header_timeout" in result.stdout, "defaults are part of it"
    assert mark.received() == b""


def test_check_refuses_what_a_start_refuses_in_the_same_words(tmp_path, backend):
    path, address = write(tmp_path, backend, ("weight: 1", "weight: -1"))
    result = run_aegis("check", "-c", str(path))
    assert result.returncode == 2
    assert result.stderr == refused_start(path, address, backend)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_file_that_cannot_be_opened_is_named_in_one_line_and_nothing_listens(tmp_path, backend, workers):
    changes = (
        ("server:\n", f"server:\n  workers: {workers}\n"),
        ("development:", "logging: {file: /nonexistent/aegis.log}\ndevelopment:"),
    )
    path, address = write(tmp_path, backend, *changes)
    result = run_aegis("--config", str(path), "--headless")
    assert result.returncode == 1
    assert result.stderr == (
        "aegis: cannot start with this logging.file: [Errno 2] No such file or directory: '/nonexistent/aegis.log'\n"
    )
    assert refuses(address)
