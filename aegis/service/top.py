"""`aegis top`: the dashboard of an Aegis that runs elsewhere. Whatever ends it ends nothing but itself."""

import signal
from functools import partial
from typing import Final

import gevent

from aegis.admin.client import AdminClient, UnreachableError
from aegis.background import Background, Job
from aegis.thread import SingleThread
from aegis.tui.app import Dashboard
from aegis.tui.remote import Remote

REFRESH: Final = 1.0
LEAVES: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def run(client: AdminClient, *, read_only: bool) -> None:
    """Show it until q, a signal, or the end of the terminal."""
    remote = Remote(client, client.text, unreachable=UnreachableError)
    # Its frames are nobody's request: those that are skipped are not counted.
    dashboard = Dashboard(
        remote, SingleThread(), interval=REFRESH, on_skip=lambda: None, remote=True, read_only=read_only
    )
    shown = gevent.spawn(dashboard.run)
    for number in LEAVES:
        gevent.signal_handler(number, partial(shown.kill, block=False))
    asking = Background([Job("ask the instance", REFRESH, remote.poll)])
    asking.start()
    first = gevent.spawn(remote.poll)
    shown.join()
    asking.stop()
    first.kill()
    shown.get()  # raises what the dashboard crashed of
