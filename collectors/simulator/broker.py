"""A broker in this process, on loopback only: for the demo, never for real use (it does not redeliver)."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["demo_broker"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def demo_broker(port: int = 0) -> AsyncIterator[int]:
    """Run an in-process broker on 127.0.0.1 and yield its port; 0 takes a free one."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from amqtt.broker import Broker  # type: ignore[import-untyped]

        chosen = port or _free_port()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{chosen}", "max_connections": 50}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        try:
            yield chosen
        finally:
            await broker.shutdown()
