"""Gentle traffic for the demo: eight clients, each with an address of its own."""

import contextlib
import http.client
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

CLIENTS = 8
TOGETHER = 4  # a whole round of the weights 1, 1, 2: what others send in between still goes 1 : 1 : 2
PAUSE = 0.1  # seconds from one round to the next
UNANSWERED = 32  # rounds pause while so many requests have no answer


class Client:
    """One keep-alive connection from one address of 127/8."""

    def __init__(self, number: int, port: int) -> None:
        self.source = f"127.0.{number}.{number}"
        self.port = port
        self.connection: http.client.HTTPConnection | None = None
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Client {self.source}>"

    def ask(self) -> None:
        with self.lock:
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(
                        "127.0.0.1", self.port, timeout=10, source_address=(self.source, 0)
                    )
                self.connection.request("GET", "/")
                self.connection.getresponse().read()
            except (OSError, http.client.HTTPException):  # Aegis closed it or is not there: next time anew
                if self.connection is not None:
                    self.connection.close()
                self.connection = None


class Traffic:
    """Runs beside the demo until stopped; `on` can be switched."""

    def __init__(self, port: int) -> None:
        self.on = True
        self._clients = [Client(number, port) for number in range(1, CLIENTS + 1)]
        self._unanswered = threading.Semaphore(UNANSWERED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        turn = itertools.cycle(self._clients)
        with ThreadPoolExecutor(UNANSWERED) as pool:
            while not self._stop.wait(PAUSE):
                if self.on:
                    for _ in range(TOGETHER):
                        pool.submit(self._one, next(turn))

    def _one(self, client: Client) -> None:
        if self._unanswered.acquire(blocking=False):
            with contextlib.ExitStack() as stack:
                stack.callback(self._unanswered.release)
                client.ask()
