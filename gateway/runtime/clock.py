"""The clock: the only place that reads the wall time. Everything else takes `at`, an argument."""

from __future__ import annotations

import time

__all__ = ["now_ns"]


def now_ns() -> int:
    """Return nanoseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns()  # noqa: TID251
