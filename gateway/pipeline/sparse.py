"""Rows of words as bytes, without the words that are as in a given row: a head, a bitmap of the others, and these.

Words are compared as integers, so that -0.0 and every NaN come back as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gateway.pipeline.layout import WORD

__all__ = ["BITS", "Words", "packed", "unpacked"]

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

BITS = 8 * WORD
"""So many words one word of a bitmap stands for."""


def packed(head: bytes, width: int, words: Words, said: Bools) -> list[bytes]:
    """Return each row as bytes: `head` (one word), the bitmap of its first `width` words, and those that are `said`."""
    before = 1 + _places(width)
    bits = np.zeros((len(words), _places(width) * BITS), np.bool_)
    bits[:, :width] = said[:, :width]
    heads = np.empty((len(words), before), np.uint64)
    heads[:, 0], heads[:, 1:] = np.frombuffer(head, np.uint64), np.packbits(bits, axis=1).view(np.uint64)
    ends = np.cumsum(WORD * np.bitwise_count(heads[:, 1:]).sum(axis=1, dtype=np.int64)).tolist()
    first, rest = heads.tobytes(), words.reshape(-1).compress(said.reshape(-1)).tobytes()
    places = zip(range(0, len(first), WORD * before), [0, *ends], ends, strict=False)
    return [first[at : at + WORD * before] + rest[start:end] for at, start, end in places]


def unpacked(like: Words, blobs: Sequence[bytes]) -> Words:
    """Return the rows that `packed` wrote of those unlike the row `like`, whatever their heads.

    Raises ValueError if damaged.
    """
    width, before = len(like), 1 + _places(len(like))
    sizes = np.array([len(blob) for blob in blobs], np.int64)
    if (sizes % WORD).any() or (sizes < before * WORD).any():
        raise ValueError("cut short")
    flat = np.frombuffer(b"".join(blobs), np.uint64)
    counts = sizes // WORD
    starts = (np.cumsum(counts) - counts)[:, None]
    bitmap = flat[starts + np.arange(1, before)]
    said = np.unpackbits(bitmap.view(np.uint8), axis=1).view(np.bool_)
    if said[:, width:].any() or (np.count_nonzero(said, axis=1) + before != counts).any():
        raise ValueError("the bitmap does not agree with the length")
    body = np.ones(len(flat), np.bool_)
    body[starts + np.arange(before)] = False
    words = np.tile(like, (len(blobs), 1))
    words[said[:, :width]] = flat.compress(body)
    if np.count_nonzero(words != like) != np.count_nonzero(said):
        raise ValueError("a word says nothing")
    return words


def _places(width: int) -> int:
    """Return how many words the bitmap of `width` words fills."""
    return -(-width // BITS)
