"""How rows of fixed width are laid out: every field where the processor reads it at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["WORD", "Fields", "aligned"]

Fields = list[tuple[str, Any]]

WORD = 8
"""Bytes that a row is a multiple of: the largest number in it."""


def aligned(fields: Sequence[tuple[str, Any]], spare: str = "spare") -> Fields:
    """Return the fields in an order in which each is aligned, the largest first, filled up to whole words by `spare`.

    >>> aligned([("a", np.int8), ("b", np.float64)])
    [('b', dtype('float64')), ('a', dtype('int8')), ('spare', dtype('V7'))]
    """
    typed = [(name, np.dtype(code)) for name, code in fields]
    ordered = sorted(typed, key=lambda field: -field[1].base.itemsize)
    missing = -sum(code.itemsize for _, code in ordered) % WORD
    return [*ordered, *([(spare, np.dtype(f"V{missing}"))] if missing else [])]
