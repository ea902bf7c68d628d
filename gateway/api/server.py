"""A small HTTP/1.1 server on the gateway's own loop: GET and HEAD, one answer a connection, everything bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from gateway.api import Respond, Response, problem

__all__ = ["listening"]

log = logging.getLogger("metergate.api")

HEAD_BYTES = 8192
DEADLINE_S = 5.0
CONNECTIONS = 32


@asynccontextmanager
async def listening(host: str, port: int, respond: Respond) -> AsyncIterator[tuple[str, int] | None]:
    """Serve while the block runs; yields the address, or None when it cannot be had, which is said and no failure."""
    server = _Server(respond)
    try:
        listener = await asyncio.start_server(server.answer, host, port, limit=HEAD_BYTES)
    except OSError as error:
        log.warning(
            "no health and no metrics: %s:%d cannot be listened on (%s); set api.listen to a free address",
            host, port, error.strerror or error,
        )  # fmt: skip
        yield None
        return
    address = listener.sockets[0].getsockname()[:2]
    log.info("health and metrics on http://%s:%d", f"[{address[0]}]" if ":" in address[0] else address[0], address[1])
    try:
        yield address
    finally:
        listener.close()
        await server.close()


class _Server:
    """The connections that are open."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._open: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection and close it."""
        task = asyncio.current_task()
        if task is None or len(self._open) >= CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._answer(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # a client that is slow or gone
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            response = problem(431, "the request is too long")
        else:
            request = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            if len(request) != 3 or not request[2].startswith("HTTP/1."):
                response = problem(400, "this is no HTTP request")
            elif request[0] not in {"GET", "HEAD"}:
                response = problem(405, "only GET and HEAD are answered")
            else:
                method = request[0]
                response = await self._respond(method, request[1].partition("?")[0])
        writer.write(_bytes(response, is_head=method == "HEAD"))
        await writer.drain()

    async def close(self) -> None:
        """End what is still open."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def _bytes(response: Response, *, is_head: bool) -> bytes:
    allow = "Allow: GET, HEAD\r\n" if response.status == HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n{allow}"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if is_head else response.body)
