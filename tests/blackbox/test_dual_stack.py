"""Listening on IPv6, and on both families at once."""

from __future__ import annotations

import socket

import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.poll import eventually
from tests.support.raw_client import RawClient


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture(scope="module")
def aegis(backend):
    config = config_for([backend], server={"host": "::"})
    with AegisProcess(config) as process:
        yield process
        assert process.stop() == 0


def test_ipv6_clients_are_served_and_masked_to_48_bits(aegis, backend):
    with RawClient(("::1", aegis.address[1])) as client:
        response = client.get("/six")
    assert response.status == 200
    assert backend.asked("/six")[0]["X-Forwarded-For"] == "::1"
    assert "1" not in aegis.wait_for_access(request_id=response["X-Request-ID"])["client"]


def test_ipv4_clients_of_a_dual_stack_listener_count_as_ipv4(aegis, backend):
    with RawClient(("127.0.0.1", aegis.address[1]), source="127.5.77.91") as client:
        response = client.get("/four")
    assert backend.asked("/four")[0]["X-Forwarded-For"] == "127.5.77.91"
    assert aegis.wait_for_access(request_id=response["X-Request-ID"])["client"].startswith("127.5.")


def test_the_line_at_start_has_the_ipv6_address_in_brackets(aegis):
    wanted = f'"listen":"[::]:{aegis.address[1]}"'
    eventually(lambda: any(wanted in line for line in aegis.lines), wanted)
