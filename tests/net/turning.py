"""Letting the event loop turn."""

import gevent


def turns(count=3):
    """All that is due by now has happened after this."""
    for _ in range(count):
        gevent.sleep(0)
        gevent.sleep(0.001)
