"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import resource
import socket
import time

import pytest

from aegis.process.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(2)
        yield sock


def fields(sock):
    return dict(line.split("=", 1) for line in sock.recv(4096).decode().split("\n"))


def waits():
    """How often this thread gave its core away because it had to wait; being preempted is not counted."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def test_ready_stopping_and_status_are_told(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("8 of 8")
    notifier.stopping("draining")
    notifier.status("fine")
    assert fields(manager) == {"READY": "1", "STATUS": "8 of 8"}
    assert fields(manager) == {"STOPPING": "1", "STATUS": "draining"}
    assert fields(manager) == {"STATUS": "fine"}


def test_a_reload_carries_the_monotonic_time_in_microseconds(manager):
    before = time.monotonic_ns() // 1000
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).reloading()
    told = fields(manager)
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_an_abstract_address_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"aegis-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(2)
        Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert fields(sock) == {"WATCHDOG": "1"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_is_told_at_half_of_what_it_waits_for(manager, environ, interval):
    assert Notifier({"NOTIFY_SOCKET": manager.getsockname(), **environ}).watchdog_interval == interval


def test_without_a_manager_nothing_is_told_and_nothing_watched():
    notifier = Notifier({"WATCHDOG_USEC": "3000000"})
    notifier.ready("unheard")
    assert not notifier
    assert notifier.watchdog_interval == 0


def test_a_manager_that_is_gone_is_logged_and_ends_nothing(tmp_path, caplog):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("unheard")
    assert "could not be told READY=1" in caplog.text


def test_a_manager_that_does_not_read_delays_nothing(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    before = waits()
    for _ in range(200):
        notifier.status("x" * 100)
    assert waits() - before < 20
