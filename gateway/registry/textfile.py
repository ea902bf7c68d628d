"""A text file, or the mistake that it is none."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import Mistake

__all__ = ["read_text"]

LARGEST = 64 * 2**20


def read_text(path: Path) -> str | Mistake:
    """Return the UTF-8 text of a file, or the mistake that it is none; OSError as the system says it."""
    if path.stat().st_size > LARGEST:
        return Mistake(file=str(path), line=None, key="", message=f"is larger than {LARGEST} bytes")
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Mistake(file=str(path), line=line, key="", message="is not UTF-8; save it as UTF-8")
