"""The program of the aiohttp contestant: `aiohttp_proxy.py PORT BACKEND`. Streams both ways over one pooled session."""

import sys
from pathlib import Path

# Run as a file, its own directory would come first, and there aiohttp.py is the contestant, not the library.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from aiohttp import ClientSession, TCPConnector, web  # noqa: E402
from yarl import URL  # noqa: E402

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
)
PIECE = 256 * 1024


def forwarded(headers: "web.BaseRequest | object") -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]  # type: ignore[attr-defined]


class Proxy:
    """Holds the session, which has to be made inside the loop."""

    def __init__(self, backend: str) -> None:
        self.origin = f"http://{backend}"
        self.session: ClientSession | None = None

    async def open(self, _app: web.Application) -> None:
        self.session = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)

    async def close(self, _app: web.Application) -> None:
        if self.session is not None:
            await self.session.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.session is None:
            raise RuntimeError("not started")
        url = URL(self.origin + request.raw_path, encoded=True)
        body = request.content if request.can_read_body else None
        async with self.session.request(
            request.method, url, headers=forwarded(request.headers), data=body, allow_redirects=False
        ) as answer:
            if answer.content_length is not None and answer.content_length <= PIECE:
                return web.Response(status=answer.status, headers=forwarded(answer.headers), body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=forwarded(answer.headers))
            await response.prepare(request)
            async for piece in answer.content.iter_chunked(PIECE):
                await response.write(piece)
            await response.write_eof()
            return response


def main() -> None:
    port, backend = int(sys.argv[1]), sys.argv[2]
    proxy = Proxy(backend)
    app = web.Application(client_max_size=0)
    app.on_startup.append(proxy.open)
    app.on_cleanup.append(proxy.close)
    app.router.add_route("*", "/{tail:.*}", proxy.handle)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
