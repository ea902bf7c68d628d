"""A source in memory: what is put in comes out in order, and again after a reconnect until it is acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from collectors import Message

__all__ = ["MemorySource"]


class MemorySource:
    """A source of at most `size` messages at a time, waiting or unacknowledged; `put` waits for room."""

    def __init__(self, *, size: int = 10_000) -> None:
        self._size = size
        self._waiting: deque[Message] = deque()
        self._taken: deque[Message] = deque()
        self._changed = asyncio.Condition()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def put(self, message: Message) -> None:
        """Add a message once there is room; ValueError after `close`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_closed or self.unacknowledged < self._size)
            if self._is_closed:
                raise ValueError("the source is closed")
            self._waiting.append(message)
            self._changed.notify_all()

    async def close(self) -> None:
        """Let no more messages in; what is waiting is still delivered, then `take` returns None."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    async def reconnect(self) -> None:
        """Deliver everything taken and not acknowledged again, before what is waiting."""
        async with self._changed:
            self._waiting.extendleft(reversed(self._taken))
            self._taken.clear()
            self._changed.notify_all()

    @property
    def unacknowledged(self) -> int:
        """Messages put and not yet acknowledged."""
        return len(self._waiting) + len(self._taken)

    async def take(self, limit: int, wait_s: float) -> Sequence[Message] | None:
        """Return up to `limit` messages in order, empty after `wait_s` without any, None at the end."""
        async with self._changed:
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait_for(lambda: self._waiting or self._is_closed)
            except TimeoutError:
                return []
            if not self._waiting:
                return None
            batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._taken.extend(batch)
            return batch

    async def acknowledge(self, batch: Sequence[Message]) -> None:
        """Forget messages just as taken; ValueError when they are not the oldest unacknowledged ones."""
        async with self._changed:
            if any(mine is not theirs for mine, theirs in zip(self._taken, batch, strict=False)) or len(batch) > len(
                self._taken
            ):
                raise ValueError("acknowledged out of order, or never taken")
            for _ in batch:
                self._taken.popleft()
            self._changed.notify_all()
