"""What health and metrics ask of a running gateway; `gateway.runtime` has the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Watched", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the gateway has done since it started, and where it stands.

    `connected`: all subscriptions stand; `trouble`: why nothing can be stored, or why there is no broker, in words.
    """

    ingesting: bool
    connected: bool
    trouble: str | None
    messages: int
    batches: int
    checks: int
    queued: int
    paused: bool
    devices: int
    channels: int
    writable: bool


class Watched(Protocol):
    """A gateway at work."""

    def __call__(self) -> Work:
        """Return where it stands now; quick, and safe in any thread."""
        ...
