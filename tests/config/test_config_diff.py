"""What is in force after a reload: the new file, but for the keys that need a restart."""

from __future__ import annotations

from msgspec.structs import replace

from aegis.config.diff import carried, compare
from aegis.config.load import load_text
from aegis.config.schema import BackendEntry

TEXT = "backends: [{url: 'http://a:1', weight: 1}]\n"
NEW = """
server: {port: 9999, workers: 2, read_timeout: 1s}
rate_limit: {ipv6_prefix: 64, burst: 7}
tui: {enabled: false, refresh_interval: 2s}
"""


def test_keys_that_need_a_restart_keep_their_old_values_and_all_others_the_new_ones():
    old, new = load_text(TEXT, "old.yml", {}), load_text(TEXT + NEW, "new.yml", {})
    after = carried(old, new)
    assert (after.server.port, after.server.workers, after.tui.enabled) == (8080, 1, True)
    assert (after.server.read_timeout, after.rate_limit.burst, after.tui.refresh_interval) == (1.0, 7, 2.0)
    live, restart = compare(old, new)
    assert compare(old, after) == (live, ())
    assert [str(change) for change in restart] == [
        "server.port: 8080 → 9999",
        "server.workers: 1 → 2",
        "tui.enabled: true → false",
    ]


def test_backends_are_the_new_ones():
    old = load_text(TEXT, "old.yml", {})
    new = replace(old, backends=(BackendEntry(url="http://b:2", weight=3),))
    assert carried(old, new).backends == new.backends
    assert [str(change) for change in compare(old, new)[0]] == [
        "backends[a:1]: removed (http://a:1, weight 1)",
        "backends[b:2]: added (http://b:2, weight 3)",
    ]
