"""Which thread goes first where processors are few."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

__all__ = ["give_way"]

NICE = 10


def give_way() -> None:
    """Let other threads go first: what this one does can wait, and messages should not."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
