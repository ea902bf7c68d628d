"""A TCP proxy that breaks what passes through it: cut, blackhole, delay, throttle, split."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024


class Proxy:
    """Listens on a free loopback port and passes everything to `target`; change its attributes while it runs.

    `delay_s`: before each piece. `bytes_per_s`: how fast. `piece`: at most so many bytes at once.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.piece = CHUNK
        self.connections = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.restore()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection (RST, as a dying router does)."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def blackhole(self) -> None:
        """Swallow silently whatever comes: half-open, nobody is told."""
        self._flowing.clear()

    def restore(self) -> None:
        """Let new connections through again; what was swallowed stays lost."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, upstream_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, upstream_writer))
                tasks.create_task(self._pass(upstream_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        swallowing = False
        while data := await reader.read(CHUNK):
            swallowing = swallowing or not self._flowing.is_set()
            if swallowing:
                continue
            for at in range(0, len(data), self.piece):
                part = data[at : at + self.piece]
                pause = self.delay_s + (len(part) / self.bytes_per_s if self.bytes_per_s else 0.0)
                if pause:
                    await asyncio.sleep(pause)
                writer.write(part)
                await writer.drain()
        if not swallowing:
            writer.close()
