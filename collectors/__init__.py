"""Collectors gather: a source yields batches of messages and acknowledges them once their effects are durable.

A source is an async context manager. `take` waits up to `wait_s` for the first message and returns what has arrived,
at most `limit` messages, in receive order; an empty batch means "nothing yet", None means the source has ended.
`acknowledge` is called with a batch exactly as taken, in the order taken, after everything it caused is durable.
A batch that is never acknowledged is delivered again by a source that can (MQTT), after reconnecting.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import msgspec

__all__ = ["Message", "Source"]


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message as it arrived. `received_at` is integer nanoseconds; `token` belongs to the source."""

    topic: str
    payload: bytes
    received_at: int
    retained: bool = False
    token: object = None


@runtime_checkable
class Source(Protocol):
    """Where messages come from."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def take(self, limit: int, wait_s: float) -> Sequence[Message] | None:
        """Return up to `limit` messages in receive order, empty after `wait_s` without any, None at the end."""
        ...

    async def acknowledge(self, batch: Sequence[Message]) -> None:
        """Tell the sender that these messages, just as taken, are durable."""
        ...
