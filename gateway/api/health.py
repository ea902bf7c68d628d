"""`/healthz`, `/readyz` and `/metrics`: what a supervisor and Prometheus ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from gateway.api import Respond, Response, problem
from gateway.api.metrics import CONTENT_TYPE, Exposition, Survey
from gateway.api.watched import Watched

__all__ = ["answering"]


@asynccontextmanager
async def answering(watched: Watched, data_dir: Path, clock: Callable[[], int]) -> AsyncIterator[Respond]:
    """Yield the answers of a gateway; metrics are gathered in one thread of their own."""
    survey = Survey(data_dir)
    exposition = Exposition(watched, survey, clock)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="scrape") as thread:

        async def respond(_method: str, path: str) -> Response:
            if path == "/healthz":
                return Response(status=200, body=b'{"status":"alive"}')
            if path == "/readyz":
                return readiness(watched)
            if path == "/metrics":
                text = await loop.run_in_executor(thread, exposition.text)
                return Response(status=200, body=text, content_type=CONTENT_TYPE)
            return problem(404, "there is nothing here", "there are /healthz, /readyz and /metrics")

        try:
            yield respond
        finally:
            await loop.run_in_executor(thread, survey.close)


def readiness(watched: Watched) -> Response:
    """Return 200 while readings are taken and stored, else 503 with the reason."""
    work = watched()
    if work.ingesting and work.connected and work.writable:
        return Response(status=200, body=orjson.dumps({"status": "ready"}))
    reason = work.trouble or ("it is starting" if not work.ingesting else "it is connecting to the broker")
    return problem(503, "not ready", reason)
