"""The reload in process, where a program of its own would need the default port."""

import pytest

from aegis.control import VerbError
from aegis.service.build import build, wire_settings
from aegis.service.reload import Reloader
from aegis.service.source import CommandLine
from aegis.wire.server import Server, open_listener
from tests.support.ports import loopback_host


def test_without_a_file_a_reload_answers_no_file():
    source = CommandLine(["http://127.0.0.1:1@3"])
    config, backends = source.read()
    parts = build(config, backends)
    listener = open_listener(loopback_host(), 0)
    server = Server(listener, parts.stack.application, wire_settings(config, 10), parts.deadlines, parts.request_heads)
    reloader = Reloader(parts, source, server)
    with pytest.raises(VerbError, match="no file"):
        reloader.reload()
    assert parts.counters.reloads == {"applied": 0, "failed": 1}
    assert parts.events.since()[-1].kind == "reload_failed"
    listener.close()
