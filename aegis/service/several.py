"""Several processes: what the supervisor needs is opened and wired here, before the first fork.

Nothing here starts a greenlet, a thread or a loop: a fork of this process has to be clean.
"""

import gc
import logging
import os
import socket
import sys
from collections.abc import MutableMapping, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, Final

from aegis.config.schema import Config
from aegis.events import Event, Kind
from aegis.logs.lines import json_line, text_line, timestamp
from aegis.logs.writer import open_log
from aegis.pool.backend import Backend
from aegis.process import handover, listeners, steering
from aegis.process.notify import Notifier
from aegis.process.publication import Pages
from aegis.process.reports import SUPERVISOR, Message, mailbox, send
from aegis.process.shared import LEAVE, Board
from aegis.process.supervisor import Outside, Supervisor
from aegis.service import admin, limits
from aegis.service.controlling import ControlProcess
from aegis.service.restart import begin_check
from aegis.service.screen import wanted
from aegis.service.shared import Common, first_slots
from aegis.service.status import Spokesman
from aegis.service.worker import Worker
from aegis.tui import modes

if TYPE_CHECKING:
    from aegis.service.source import Source

log = logging.getLogger("aegis")

STDOUT: Final = 1

DIVIDED: Final = "server.steering: connections are spread, each worker enforces rate/{0} and burst/{0} of a client"
NO_STEERING: Final = (
    "the kernel cannot steer by client: connections are spread, each worker enforces rate/{0} and burst/{0}"
)


class Several:
    """The group of processes behind one listen address."""

    def __init__(
        self,
        source: "Source",
        config: Config,
        backends: list[Backend],
        *,
        headless: bool,
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        """Raises OSError or AdminListenError when the log file or an address cannot be had; no socket is open then."""
        self.config, self.source = config, source
        self._environ = environ
        self._headless = headless
        self._started = False  # all have served at some time: a control process goes on with what is known by now
        self._handed = handover.received(environ)
        self._count = limits.count_of(config)
        self._modes = modes.current()
        # Each process opens its own. This one says whether it can be opened, and is kept until all have theirs: the
        # reader of a FIFO would take a close for the end.
        self._log = open_log(config.logging.file) if config.logging.file else -1
        self._listeners = self._obtain()
        limits.raise_descriptor_limit()
        by_client = config.server.steering == "client" and self._steer({})
        self.more = (
            ()
            if by_client
            else ((DIVIDED if config.server.steering == "connection" else NO_STEERING).format(self._count),)
        )
        self.common = Common(
            board=Board(self._count),
            pages=Pages(),
            source=source,
            config=config,
            backends=backends,
            listen=str(listeners.address_of(next(iter(self._listeners.values())))),
            boxes=[mailbox() for _ in range(self._count)],
            sockets=admin.open_sockets(config.admin, self._handed),
            by_client=by_client,
            slots=first_slots(backends),
        )
        self._spokesman = Spokesman(Notifier(environ), self.common.board)
        self._handed.close_rest(*self._listeners, *self.common.sockets)

    def run(self) -> int:
        """Until told to stop; returns the exit code."""
        gc.freeze()  # a collector that looks at what is shared would make it private
        bodies = [partial(self._work, index) for index in range(self._count)]
        outside = Outside(
            say=self._say,
            steer=self._steer_around,
            close=self._close,
            tick=self._spokesman.tick,
            patience=self._spokesman.patience,
            ready=self._ready,
            reloading=self._spokesman.reloading,
            stopping=self._spokesman.stopping,
            check=lambda: begin_check(self.source, self._count, (*self._listeners, *self.common.sockets)),
            take_over=self._take_over,
            old=set(self._handed.old),
        )
        return Supervisor(self.common.board, bodies, self._control, outside).run()

    # what the children do

    def _work(self, index: int) -> int:
        for number, listener in enumerate(self._listeners.values()):
            if number != index % len(self._listeners):
                listener.close()  # this process's copy alone
        self._close_sockets()
        self._close_log()
        listener = list(self._listeners.values())[index % len(self._listeners)]
        return Worker(self.common, index, listener).run()

    def _control(self) -> int:
        self._close()
        self._close_log()
        if self._started and wanted(self.config, headless=self._headless):
            modes.give_back(self._modes)  # the one before was killed, perhaps with its dashboard up
        return ControlProcess(self.common, headless=self._headless, first=not self._started, more=self.more).run()

    def _close_sockets(self) -> None:
        for sock in self.common.sockets.values():
            sock.close()

    def _close_log(self) -> None:
        if self._log >= 0:
            handover.close(self._log)
            self._log = -1

    # listeners

    def _obtain(self) -> dict[str, socket.socket]:
        """By the names under which they are handed on, in the order of the workers."""
        server = self.config.server
        activated = self._handed.listener(listeners.ACTIVATED) or listeners.from_manager(self._environ)
        if activated is not None:
            return {listeners.ACTIVATED: activated}  # one for all workers: the kernel cannot tell clients apart there
        names = [f"{listeners.name_of(server.host, server.port)} worker {index}" for index in range(self._count)]
        handed = {name: sock for name in names if (sock := self._handed.listener(name)) is not None}
        if len(handed) == self._count:
            return handed
        return dict(zip(names, listeners.open_group(server.host, server.port, self._count), strict=True))

    def _steer(self, elsewhere: dict[int, int]) -> bool:
        if len(self._listeners) < self._count:
            return False
        try:
            steering.steer(next(iter(self._listeners.values())), self._count, elsewhere)
        except OSError:
            return False
        return True

    def _steer_around(self, elsewhere: dict[int, int]) -> None:
        if self.common.by_client:
            self._steer(elsewhere)

    def _close(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    # the service manager, the log, the next image

    def _ready(self) -> None:
        self._started = True
        self._close_log()
        self._spokesman.ready()

    def _say(self, level: str, words: str) -> None:
        """One line, straight to the log, as there is no writer here, and to who shows events."""
        section, board = self.config.logging, self.common.board
        event = Event(number=0, time=time(), kind=Kind.LOG, level=level, message=words)
        send(self.common.boxes[0][1], Message(SUPERVISOR, os.getpid(), event=event))
        if board.screen and board.stop != LEAVE and not section.file:
            return  # the terminal is the dashboard's
        entry = {"time": timestamp(event.time), "level": level, "message": words}
        line = text_line(entry) if section.format == "text" else json_line(entry)
        try:
            descriptor = open_log(section.file) if section.file else os.dup(STDOUT)
            try:
                os.set_blocking(descriptor, True) if section.file else None
                os.write(descriptor, line)
            finally:
                handover.close(descriptor)
        except OSError:
            sys.stderr.write(f"aegis: {words}\n")

    def _take_over(self, workers: Sequence[int]) -> str:
        self._say("INFO", "a new image takes over")
        sockets = {**self._listeners, **self.common.sockets}
        try:
            handover.replace(sockets, self._environ, workers)
        except OSError as error:
            return str(error)
        return "not reached"
