"""What is remembered of a channel between readings: one row of fixed width, a value that round-trips as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import CONDITION_DTYPE
from gateway.drift.charts import chart_dtype, detectors
from gateway.drift.dependence import DEPENDENCE
from gateway.drift.influence import INFLUENCE
from gateway.drift.trend import TREND
from gateway.pipeline.layout import WORD, Fields, aligned
from gateway.pipeline.sparse import BITS, Words, packed, unpacked

__all__ = [
    "HELD", "STATE_VERSION", "CenterMode", "States", "chapter_fields", "dump", "dump_together", "fresh", "load",
    "load_together", "state_dtype",
]  # fmt: skip

STATE_VERSION = 8
UNREADABLE = "a channel state of another version, or damaged; judge the channel again from its readings"
NEVER = -(2**63)

States = npt.NDArray[Any]


class CenterMode(IntEnum):
    """Where z has its centre in this chapter."""

    UNDECIDED = 0
    CERTIFICATE = 1
    LEARNED = 2


HELD = {"time": np.int64} | dict.fromkeys(
    ("residual", "baseline_U", "baseline_k", "reference_u_error", "rounding", "resolution"), np.float64
)
"""What is kept of a check that waits for the next one (`gateway.pipeline.groups`), by its name in `Checks`."""

_JUDGED = np.dtype(
    [
        ("time", np.int64),  # of the last reading judged, ns
        ("readings", np.int64),
        ("value", np.float64),
        ("same_n", np.int64),  # identical values in a row that say something
        ("same_since", np.int64),
        ("boot", np.int64),
        ("seq", np.int64),
        ("chapter", np.int64),  # 0: no chartable check yet
        ("n", np.int64),  # chartable checks of the chapter
        ("mode", np.int8),
        ("mean", np.float64),  # Phase I, Welford
        ("m2", np.float64),
        ("sigma", np.float64),  # learned, 0: not yet
        ("centre", np.float64),  # D0
        ("offset", np.int8),  # learned centre disagrees with the certificate, |En| > 1
        ("zero_time", np.int64),
        ("zero", np.float64),  # indication at the last zero check
        ("zeros_n", np.int32),  # zero checks of a chapter, all exactly 0; -1: not all
        ("zeros_chapter", np.int32),
        ("major", np.int8),  # the last check asked for `major`
        ("checks", np.int64),
        ("check_time", np.int64),
        ("error", np.float64),
        ("margin_percent", np.float64),
        ("conformity", np.int8),
        ("safe", np.float64),  # 1 - U/MPE of the last check of the trend
        ("nearness", np.float64),
        ("standard", np.int64),  # of the last check, as `boot_code` of its device id; 0: none
        ("mpe_x", np.float64),  # where and when `mpe` was last asked for
        ("mpe_time", np.int64),
        ("settled", np.int8),  # D0 is settled
        ("groups", np.int64),  # complete subgroups of the chapter
        ("group_n", np.int64),  # the open subgroup: checks, sum of residuals, which, since when (ns)
        ("group_sum", np.float64),
        ("group_window", np.int64),
        ("group_since", np.int64),
        ("held", np.int8),  # the newest check waits for the next one to say whether its group ends
        *((f"held_{name}", code) for name, code in HELD.items()),
    ]
)


_OF_CHAPTER = (
    "chapter", "n", "mode", "mean", "m2", "sigma", "centre", "offset", "settled", "groups", "group_n", "group_sum",
    "group_window", "group_since", "held", *(f"held_{name}" for name in HELD), "safe",
)  # fmt: skip


@cache
def chapter_fields() -> tuple[str, ...]:
    """Return the names of what belongs to a chapter, and begins anew with the next: Phase I, dependence, charts."""
    parts = (INFLUENCE, DEPENDENCE, chart_dtype((*detectors(), TREND)))
    return *_OF_CHAPTER, *(name for part in parts for name in part.names or ())


@cache
def state_dtype() -> np.dtype[Any]:
    """Return the layout of a channel's state, in whole words of 8 bytes; optional charts come last."""
    return np.dtype(aligned(_usual_fields()) + _optional_fields())


def _usual_fields() -> Fields:
    """Return the fields of what was judged, of conditions, and of the charts that are not optional."""
    usual = [d for d in detectors() if not d.optional]
    parts = (_JUDGED, INFLUENCE, DEPENDENCE, CONDITION_DTYPE, chart_dtype((*usual, TREND)))
    return [(name, part[name]) for part in parts for name in part.names or ()]


def _optional_fields() -> Fields:
    optional = chart_dtype([d for d in detectors() if d.optional])
    return [(name, optional[name]) for name in optional.names or ()]


def fresh(n: int) -> States:
    """Return the states of `n` channels that have said nothing yet."""
    states = np.zeros(n, state_dtype())
    for name in ("time", "zero_time", "check_time"):
        states[name] = NEVER
    states["seq"] = -1
    for name in ("value", "error", "margin_percent", "safe", "mpe_x"):
        states[name] = np.nan
    return states


def dump(states: States) -> list[bytes]:
    """Return each state as bytes: its version and layout, then what differs from a fresh one (`sparse`).

    Optional charts that have not begun leave no trace, so that adding one leaves other states readable.
    """
    words = _words(states)
    said = words != _fresh_words()
    usual = _form(optional=False)
    if not said[:, usual.width :].any():
        return packed(usual.head, usual.width, words, said)
    begun = said[:, usual.width :].any(axis=1)
    blobs = [b""] * len(states)
    for form, rows in ((usual, np.flatnonzero(~begun)), (_form(optional=True), np.flatnonzero(begun))):
        for i, blob in zip(rows.tolist(), packed(form.head, form.width, words[rows], said[rows]), strict=True):
            blobs[i] = blob
    return blobs


def load(blobs: Sequence[bytes]) -> States:
    """Return the states that `dump` wrote, now or in version 7. Raises ValueError for others and damaged ones."""
    found: dict[bytes, list[int]] = {}
    for i, blob in enumerate(blobs):
        found.setdefault(blob[: 1 if blob[:1] == PACKED else WORD], []).append(i)
    widths = {form.head: form.width for form in (_form(optional=False), _form(optional=True))}
    states = fresh(len(blobs))
    words = _words(states)
    for head, rows in found.items():
        some = [blobs[i] for i in rows]
        if head == PACKED:
            states[rows] = _of_version_7(some)
        elif head in widths:
            words[rows, : widths[head]] = _unpacked(widths[head], some)
        else:
            raise ValueError(UNREADABLE)
    return states


def dump_together(states: States) -> bytes:
    """Return states as bytes, all at once: which words differ from a fresh one in any of them, and these of each."""
    words = _words(states)
    said = (words != _fresh_words()).any(axis=0)
    bits = np.zeros(-(-len(said) // BITS) * BITS, np.bool_)
    bits[: len(said)] = said
    return _form(optional=True).head + np.packbits(bits).tobytes() + words.compress(said, axis=1).tobytes()


def load_together(blob: bytes, n: int) -> States:
    """Return the `n` states that `dump_together` wrote. Raises ValueError if of another layout or damaged."""
    states = fresh(n)
    words = _words(states)
    width = words.shape[1]
    body = WORD + -(-width // BITS) * WORD
    said = np.unpackbits(np.frombuffer(blob[WORD:body], np.uint8)).view(np.bool_)
    each = int(np.count_nonzero(said))
    if blob[:WORD] != _form(optional=True).head or said[width:].any() or len(blob) != body + WORD * n * each:
        raise ValueError(UNREADABLE)
    words[:, said[:width]] = np.frombuffer(blob[body:], np.uint64).reshape(n, each)
    return states


def _unpacked(width: int, blobs: Sequence[bytes]) -> Words:
    try:
        return unpacked(_fresh_words()[:width], blobs)
    except ValueError as damage:
        raise ValueError(UNREADABLE) from damage


def _words(states: States) -> Words:
    """Return states as words, one row each: a view where they lie one after the other."""
    width = states.dtype.itemsize // WORD
    return np.ascontiguousarray(states).view(np.uint64).reshape(len(states), width)


@cache
def _fresh_words() -> Words:
    words: Words = _words(fresh(1))[0]
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How bytes of states begin, and how many words these have."""

    head: bytes
    width: int


@cache
def _form(*, optional: bool) -> _Form:
    """Return the form of states with or without optional charts; `head` names fields and fresh values."""
    dtype = np.dtype(aligned(_usual_fields()) + (_optional_fields() if optional else []))
    said = repr(dtype.descr).encode() + fresh(1).tobytes()[: dtype.itemsize]
    return _Form(
        head=bytes([STATE_VERSION]) + blake2b(said, digest_size=WORD - 1).digest(), width=dtype.itemsize // WORD
    )


PACKED = b"\7"
"""The version byte of states that were written whole, field after field."""


def _of_version_7(blobs: Sequence[bytes]) -> States:
    dtype = np.dtype(_usual_fields() + _optional_fields())
    usual = np.dtype(_usual_fields()).itemsize
    if {len(blob) for blob in blobs} - {1 + usual, 1 + dtype.itemsize}:
        raise ValueError(UNREADABLE)
    old = np.frombuffer(b"".join(b[1:].ljust(dtype.itemsize, b"\0") for b in blobs), dtype)
    states = fresh(len(blobs))
    for name in dtype.names or ():
        states[name] = old[name]
    return states
