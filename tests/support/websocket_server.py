"""A WebSocket server of the `websockets` library, run as a process of its own: it works on asyncio, we on gevent.

Echoes each message. On `/bye` it closes with 4000 after the first, on `/silent` it reads nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Self

import gevent

from tests.support.poll import eventually
from tests.support.ports import loopback_host

BYE = 4000


class WebSocketServer:
    """`with WebSocketServer() as server`: `server.url` is up inside the block.

    certificate: files of (certificate, key), for https. said: `open` and `closed CODE` as connections come and go.
    """

    def __init__(self, *certificate: str, host: str = "") -> None:
        self.host = host or loopback_host()
        self.certificate = certificate
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.websocket_server", self.host, *self.certificate],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = gevent.spawn(self._read)
        eventually(lambda: self.said, "its port", within=10)
        self.port = int(self.said.pop(0))
        self.url = f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._reader.join(5)
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said.append(line.strip())


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def handle(connection) -> None:
    from websockets.exceptions import ConnectionClosed

    say("open")
    path = connection.request.path
    if path == "/silent":
        await asyncio.sleep(60)
    try:
        async for message in connection:
            await connection.send(message)
            if path == "/bye":
                await connection.close(BYE, "bye")
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    say(f"closed {connection.close_code}")


def healthy(connection, request):
    return connection.respond(200, "ok\n") if request.path == "/health" else None


async def main(host: str, *certificate: str) -> None:
    import ssl

    from websockets.asyncio.server import serve

    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    options = {"max_size": None, "compression": None, "ping_interval": None, "process_request": healthy}
    async with serve(handle, host, 0, ssl=context, **options) as server:
        say(str(server.sockets[0].getsockname()[1]))
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
