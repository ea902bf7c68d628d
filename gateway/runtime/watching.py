"""What health and metrics are told of the service and its source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from collectors.mqtt import MqttSource, Phase
from gateway.api.health import answering
from gateway.api.server import listening
from gateway.api.watched import Watched, Work
from gateway.pipeline.plan import Plan
from gateway.runtime.clock import now_ns
from gateway.runtime.service import STALLED_S, Service
from gateway.settings import Settings

__all__ = ["stalled", "watched", "watching"]


@asynccontextmanager
async def watching(settings: Settings, service: Service, source: MqttSource) -> AsyncIterator[None]:
    """Serve health and metrics on `api.listen` while the block runs; an address that is taken is only said."""
    async with (
        answering(watched(service, source), settings.data_dir, now_ns) as respond,
        listening(settings.api.host, settings.api.port, respond),
    ):
        yield


def watched(service: Service, source: MqttSource) -> Watched:
    """Return what answers for this service and its source."""
    counted: tuple[Plan | None, int] = (None, 0)

    def now() -> Work:
        nonlocal counted
        ingest, state, totals = service.ingest, source.state, service.totals
        plan = None if ingest is None else ingest.plan
        stuck = stalled(service.busy_s)
        if plan is not None and plan is not counted[0]:
            counted = (plan, len({f.device for f in plan.facts}))
        return Work(
            ingesting=plan is not None,
            connected=state.phase is Phase.CONNECTED,
            writable=service.trouble is None and stuck is None,
            trouble=service.trouble or stuck or (None if state.trouble is None else str(state.trouble)),
            messages=totals.messages, batches=totals.batches, checks=totals.checks,
            queued=source.buffered, paused=source.is_paused,
            devices=counted[1], channels=0 if plan is None else len(plan),
        )  # fmt: skip

    return now


def stalled(busy_s: float) -> str | None:
    """Return why nothing is stored, if one piece of work on the ledger takes this long (s)."""
    if busy_s < STALLED_S:
        return None
    return f"the ledger has been at one piece of work for {busy_s:.0f} s: is the disk stuck?"
