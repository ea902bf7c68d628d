"""What the source in memory does beyond the contract of sources (tests/contracts/test_every_source.py)."""

from __future__ import annotations

import asyncio

import pytest

from collectors import Message
from collectors.memory import MemorySource


def message(n: int) -> Message:
    return Message(topic="t", payload=str(n).encode(), received_at=n)


async def numbers(source: MemorySource, limit: int = 10) -> list[int]:
    return [m.received_at for m in await source.take(limit, 1.0) or ()]


def test_acknowledging_out_of_order_is_an_error() -> None:
    async def run() -> None:
        async with MemorySource() as source:
            for n in range(2):
                await source.put(message(n))
            batch = await source.take(2, 1.0)
            assert batch
            with pytest.raises(ValueError, match="order"):
                await source.acknowledge(batch[1:])

    asyncio.run(run())


def test_a_full_source_makes_the_sender_wait_for_an_acknowledgement() -> None:
    async def run() -> None:
        async with MemorySource(size=1) as source:
            await source.put(message(0))
            waiting = asyncio.create_task(source.put(message(1)))
            batch = await source.take(1, 1.0)
            assert batch
            assert not waiting.done()
            await source.acknowledge(batch)
            await asyncio.wait_for(waiting, 1.0)
            assert source.unacknowledged == 1

    asyncio.run(run())


def test_a_closed_source_ends_after_what_is_waiting() -> None:
    async def run() -> None:
        source = MemorySource()
        await source.put(message(0))
        await source.close()
        assert await numbers(source) == [0]
        assert await source.take(1, 1.0) is None
        with pytest.raises(ValueError, match="closed"):
            await source.put(message(1))

    asyncio.run(run())
