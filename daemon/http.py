"""The agent's small HTTP side: /healthz, /metrics and /devices, read only, GET only.

A request line and nothing else is read, so a web framework would only add memory and wake-ups.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from daemon.lean import structlog

READ_TIMEOUT_S = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page | Awaitable[Page]]]


@contextlib.asynccontextmanager
async def serving(address: str, pages: Pages) -> AsyncGenerator[None]:
    """Serve `pages` at "HOST:PORT" (port 0: any) while the context lasts; "" serves nothing.

    Where the address cannot be had, that is logged: pods get their devices all the same.
    """
    server = await _listen(address, pages) if address else None
    try:
        yield
    finally:
        if server:
            server.close()


async def _listen(address: str, pages: Pages) -> asyncio.Server | None:
    host, _, port = address.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            writer.write(_render(await _page(reader, pages)))
            await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answer, host.strip("[]") or None, int(port), limit=8192)
    except OSError as error:
        _log.error("http not served; choose another --http", address=address, error=str(error))
        return None
    _log.info("http serving", addresses=[s.getsockname()[:2] for s in server.sockets])
    return server


async def _page(reader: asyncio.StreamReader, pages: Pages) -> Page:
    async with asyncio.timeout(READ_TIMEOUT_S):
        line = (await reader.readline()).decode("latin-1").split()
        while (await reader.readline()).strip():
            pass
    if len(line) != 3 or line[0] not in ("GET", "HEAD"):  # noqa: PLR2004 - METHOD PATH VERSION
        return Page(b"only GET is served\n", HTTPStatus.METHOD_NOT_ALLOWED)
    make = pages.get(line[1].partition("?")[0])
    if make is None:
        known = " ".join(sorted(pages))
        return Page(f"no such page; there are {known}\n".encode(), HTTPStatus.NOT_FOUND)
    made = make()
    page = made if isinstance(made, Page) else await made
    return page if line[0] == "GET" else Page(b"", page.status, page.content_type)


def _render(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + page.body
