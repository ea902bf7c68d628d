"""Recordings of any length are given back by time and never held whole; what comes of them is the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.metrology.readings import Reading
from gateway.runtime.importing import import_recordings
from gateway.runtime.spool import Spool
from tests.pipeline.centre import DAY, check, ingest_in, two_scales

texts = st.none() | st.sampled_from(("b1", "Bộ đếm", "\udcff"))
numbers = st.none() | st.floats(allow_nan=False)
readings = st.builds(
    Reading,
    device=st.sampled_from(("a", "b")), channel=st.sampled_from(("mass", "flow")), time=st.integers(0, 30),
    value=st.floats(allow_nan=False), unit=st.sampled_from(("kg", "g")), reference=numbers, x=numbers, boot=texts,
    seq=st.none() | st.integers(0, 2**63 - 1), stable=st.none() | st.booleans(), clock_suspect=st.booleans(),
    source=st.integers(0, 2), record=st.none() | st.integers(1, 10**9),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(readings, max_size=12), max_size=6), st.integers(1, 9))
def test_readings_come_back_by_time_and_else_as_they_were_added(parts: list[list[Reading]], few: int) -> None:
    added = [r for part in parts for r in part]
    with TemporaryDirectory() as folder, Spool(Path(folder), few) as spool:
        for part in parts:
            spool.add(part)
        found = list(spool.by_time())
        assert [r for some in found for r in some] == sorted(added, key=lambda r: r.time)
        assert spool.size == len(added)
        assert len(added) <= few or max(map(len, found)) <= few
        assert not list(Path(folder).iterdir())
        newest: dict[tuple[object, ...], int] = {}
        orderly = all(
            newest.setdefault(key := (r.source, r.device, r.channel), r.time) <= r.time
            and newest.update({key: r.time}) is None
            for r in added
        )
        assert spool.in_order == orderly


def test_of_many_readings_little_is_in_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with Spool(tmp_path, 5_000) as spool:
            for first in range(0, 200_000, 1_000):
                moments = range(first, first + 1_000)
                spool.add(
                    [Reading(device="a", channel="c", time=7 * t % 200_000, value=t / 3, unit="V") for t in moments]
                )
            total = sum(len(some) for some in spool.by_time())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 200_000
    assert peak < 12_000_000  # held whole: 50 MB


def imported(folder: Path, parts: Sequence[Sequence[Reading]], few: int) -> tuple[object, object]:
    ingest = ingest_in(folder / "ledger", two_scales())
    with Spool(folder, few) as spool:
        for part in parts:
            spool.add(part)
        said = import_recordings(ingest, spool, [], ["x.csv", "y.csv"], 200 * DAY, lambda _n: None)
    kept = ingest.ledger.connection.execute(
        "SELECT channel, time, boot, seq, value, late, quality, verdict, document FROM reading r"
        " LEFT JOIN context c ON c.id = r.context ORDER BY channel, time, boot, seq"
    ).fetchall()
    ingest.ledger.close()
    return said, kept


@pytest.mark.parametrize("disorder", [False, True])
def test_a_recording_on_disk_is_judged_as_one_in_memory(tmp_path: Path, disorder: bool) -> None:
    days = [d if not disorder or d % 7 else d - 3 for d in range(10, 70)]
    some = [check(device, d, 5.001 + 0.0004 * (i % 3), seq=i) for i, d in enumerate(days) for device in ("a", "b")]
    some = [structs.replace(r, record=n) for n, r in enumerate(some, start=2)]
    parts = [some[i : i + 10] for i in range(0, len(some), 10)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = imported(tmp_path / "one", parts, 10_000), imported(tmp_path / "two", parts, 16)
    assert one == two
    assert isinstance(one[0], dict)
    assert (one[0]["readings"]["late"] > 0) == disorder
