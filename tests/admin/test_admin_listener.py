"""Where the admin listener may listen, and what lies there before and after."""

from __future__ import annotations

import os
import socket
import stat
import threading

import pytest

from aegis.admin.client import AdminClient
from aegis.admin.listener import AdminListener, obstacles, open_unix
from aegis.config.schema import Admin
from aegis.net.deadlines import Deadlines


def stale(path):
    """What a process that was killed leaves behind."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def test_a_unix_socket_answers_and_is_only_its_owners_from_the_first_moment(serve, socket_path):
    before = os.umask(0)
    try:
        serve(f"unix:{socket_path}")
        assert os.umask(0) == 0  # ours was put back
    finally:
        os.umask(before)
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert AdminClient(f"unix:{socket_path}").snapshot().ready


def test_a_socket_is_never_open_wider_not_even_between_bind_and_listen(socket_path, monkeypatch):
    modes = []
    listen = socket.socket.listen

    def spying(self, *args):
        modes.append(stat.S_IMODE(socket_path.stat().st_mode))
        return listen(self, *args)

    monkeypatch.setattr(socket.socket, "listen", spying)
    open_unix(str(socket_path)).close()
    assert modes == [0o600]


def test_a_stale_socket_is_removed(serve, socket_path):
    stale(socket_path)
    served = serve(f"unix:{socket_path}")
    assert AdminClient(served.text).snapshot().ready


def test_the_file_is_removed_at_the_end(serve, socket_path):
    served = serve(f"unix:{socket_path}")
    served.listener.close()
    assert not socket_path.exists()
    served.listener.close()  # once more does no harm


def test_a_file_that_is_somebody_elses_by_now_is_left_alone(serve, socket_path):
    served = serve(f"unix:{socket_path}")
    socket_path.unlink()
    stale(socket_path)
    served.listener.close()
    assert socket_path.exists()


def test_what_lies_there_is_left_alone_when_it_cannot_be_opened(socket_path):
    socket_path.write_text("mine")
    listener = AdminListener(f"unix:{socket_path}", print, Deadlines())
    with pytest.raises(OSError, match="in use"):
        listener.open()
    listener.close()
    assert socket_path.read_text() == "mine"


def test_a_living_socket_is_an_obstacle_and_survives_the_look(serve, socket_path):
    serve(f"unix:{socket_path}")
    (fault,) = obstacles(Admin(listen=f"unix:{socket_path}"))
    assert (fault.path, fault.message) == (
        "admin.listen",
        "another process answers there; stop it, or choose another path",
    )
    assert AdminClient(f"unix:{socket_path}").snapshot().ready


def test_a_file_that_is_no_socket_and_a_directory_that_is_missing_are_obstacles(socket_path):
    socket_path.write_text("mine")
    (fault,) = obstacles(Admin(listen=f"unix:{socket_path}"))
    assert "no socket" in fault.message
    (fault,) = obstacles(Admin(health_listen=f"unix:{socket_path.parent}/none/a.sock"))
    assert (fault.path, "does not exist" in fault.message) == ("admin.health_listen", True)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:9090"])
def test_nothing_stands_in_the_way_of_a_port_or_of_nothing(listen):
    assert list(obstacles(Admin(listen=listen))) == []


def test_neither_a_stale_socket_nor_nothing_is_an_obstacle(socket_path):
    assert list(obstacles(Admin(listen=f"unix:{socket_path}"))) == []
    stale(socket_path)
    assert list(obstacles(Admin(listen=f"unix:{socket_path}"))) == []


def test_a_full_backlog_counts_as_living(socket_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        try:
            for client in clients:
                client.setblocking(False)
                client.connect_ex(str(socket_path))
            (fault,) = obstacles(Admin(listen=f"unix:{socket_path}"))
        finally:
            for client in clients:
                client.close()
    assert "answers there" in fault.message


def test_many_at_once_are_served_over_a_unix_socket(serve, socket_path):
    served = serve(f"unix:{socket_path}")
    answers = []
    askers = [threading.Thread(target=lambda: answers.append(AdminClient(served.text).snapshot())) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(10)
    assert len(answers) == 20
