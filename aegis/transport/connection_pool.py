"""urllib3's pools, at their extension points: a `PoolManager` per backend whose pools exchange bytes on Streams.

`urlopen` itself is not used: it re-encodes targets and costs some 60 µs. `take`, `park` and `discard` work on the
pool's own queue, bounds and counters instead; connections are made by the pool and closed with it.
"""

import queue
from functools import partial
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager

from aegis.config.schema import Transport
from aegis.transport.connection import BackendConnection, BackendTlsConnection, DialSettings

Connection = BackendConnection | BackendTlsConnection


class Lifo:
    """The pool's queue: last in, first out, without the standard queue's locks. Never blocks.

    Holds None for each place that no parked connection takes, as urllib3 wants it.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self.items: list[Any] = []

    def get(self, *, block: bool = False, timeout: float | None = None) -> Any:
        """The last one put in. Raises queue.Empty."""
        del block, timeout
        if not self.items:
            raise queue.Empty
        return self.items.pop()

    def put(self, item: Any, *, block: bool = False, timeout: float | None = None) -> None:
        """Raises queue.Full."""
        del block, timeout
        if len(self.items) >= self.maxsize:
            raise queue.Full
        self.items.append(item)

    def remove(self, item: Any) -> None:
        """Take one parked connection out; its place stays. Does nothing when it is not there."""
        if item in self.items:
            self.items.remove(item)
            self.items.insert(0, None)


class _BackendPool:
    """What the pools of both schemes share."""

    # Slots beside urllib3's attributes: with 300 backends each look into an instance's dict is a miss in the cache.
    __slots__ = ("dial_settings", "idle_timeout", "most_parked", "places", "taken")

    dial_settings: DialSettings
    idle_timeout: float
    most_parked: int
    places: list[Connection | None]
    """What the pool's queue holds."""
    taken: int
    """Connections handed out so far: urllib3's num_requests."""

    pool: Any
    num_connections: int

    @property
    def num_requests(self) -> int:
        """As urllib3 counts: requests that got a connection from this pool."""
        return self.taken

    @num_requests.setter
    def num_requests(self, count: int) -> None:
        self.taken = count  # urllib3's constructor sets it

    def take(self) -> Connection:
        """A parked connection, or a new one that is not connected yet."""
        # What urllib3's _get_conn does, without its search for dropped connections: those have left the pool already.
        places = self.places
        connection = places.pop() if places else None
        if connection is None:
            return self.take_fresh()
        self.taken += 1
        connection.stream.on_event = None  # type: ignore[union-attr]  # what is parked has a stream
        return connection

    def take_fresh(self) -> Connection:
        """A connection that is not connected yet, whatever is parked."""
        self.taken += 1
        connection: Connection = self._new_conn()  # type: ignore[attr-defined]
        connection.dial_settings = self.dial_settings
        connection.on_idle_event = partial(self.drop, connection)
        return connection

    def open_apart(self) -> Connection:
        """A connection of nobody's request, such as a probe's: neither counted nor ever parked. Raises as `open`."""
        connection: Connection = self._new_conn()  # type: ignore[attr-defined]
        self.num_connections -= 1  # type: ignore[misc]  # it lies in urllib3's own instance dict
        connection.dial_settings = self.dial_settings
        try:
            connection.open()
        except BaseException:
            connection.close()
            raise
        return connection

    def park(self, connection: Connection) -> None:
        """Give a connection back for the next request; closes it when `max_idle_per_backend` are parked.

        One that was dialled by other settings leads to an address that is no longer pinned: it is closed too.
        """
        stream, places = connection.stream, self.places
        if stream is None or len(places) >= self.most_parked or connection.dial_settings is not self.dial_settings:
            connection.close()
            return
        # A backend that closes an idle connection, or sends unasked, makes the watcher fire: it leaves the pool then
        # and there, so that a stale one is hardly ever picked.
        stream.on_event = connection.on_idle_event
        stream.deadline = monotonic() + self.idle_timeout
        if not stream.armed:
            stream.watch()
        places.append(connection)

    def drop(self, connection: Connection) -> None:
        """Close a parked connection and take it out of the pool."""
        self.pool.remove(connection)
        connection.close()

    def drop_oldest(self) -> bool:
        """Close what was parked longest ago; False when nothing is parked."""
        connection = next(iter(self.idle()), None)
        if connection is None:
            return False
        self.drop(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """Close a taken connection and leave its place to a new one."""
        connection.close()
        if len(self.places) < self.most_parked:
            self.places.insert(0, None)

    def redial(self, settings: DialSettings) -> None:
        """Dial by these settings from now on; nothing that was dialled by others serves another request."""
        self.dial_settings = settings
        self._close_idle()

    def reconfigure(self, section: Transport) -> None:
        """Dial and park by this section from now on. What is parked stays, up to the new most."""
        self.dial_settings.connect_timeout = section.connect_timeout
        self.idle_timeout = section.idle_conn_timeout
        self.most_parked = self.pool.maxsize = section.max_idle_per_backend
        places = self.places
        while len(places) > self.most_parked:
            connection = places.pop(0)  # empty places lie first, then those that were parked longest ago
            if connection is not None:
                connection.close()

    def retire(self) -> None:
        """The backend is gone from the pool: park nothing any more. What is in flight ends as it likes."""
        self.most_parked = 0
        self._close_idle()

    def _close_idle(self) -> None:
        for connection in self.idle():
            self.drop(connection)

    def idle(self) -> list[Connection]:
        """The parked connections."""
        return [place for place in self.places if place is not None]


class BackendHttpPool(_BackendPool, HTTPConnectionPool):
    """Plain connections."""

    ConnectionCls = BackendConnection
    QueueCls = Lifo  # type: ignore[assignment]


class BackendHttpsPool(_BackendPool, HTTPSConnectionPool):
    """TLS connections, verified against the system's authorities and the backend's name."""

    ConnectionCls = BackendTlsConnection
    QueueCls = Lifo  # type: ignore[assignment]


BackendPool = BackendHttpPool | BackendHttpsPool


class BackendPoolManager(PoolManager):
    """One backend's manager; knows the pools above by their scheme."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(num_pools=1, **settings)
        self.pool_classes_by_scheme = {"http": BackendHttpPool, "https": BackendHttpsPool}


def open_pool(url: str, settings: DialSettings, *, max_idle: int, idle_timeout: float) -> BackendPool:
    """The pool of the backend at `url`. max_idle: parked connections; idle_timeout: seconds one may be parked."""
    manager = BackendPoolManager(maxsize=max_idle, block=False, retries=False)
    pool: BackendPool = manager.connection_from_url(url)  # type: ignore[assignment]
    pool.dial_settings = settings
    pool.places, pool.most_parked = pool.pool.items, max_idle
    pool.idle_timeout = idle_timeout
    pool.manager = manager  # type: ignore[union-attr]  # the manager closes its pools when it goes
    return pool
