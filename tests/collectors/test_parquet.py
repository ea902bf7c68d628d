"""A Parquet file is read as the CSV of the same table would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from collectors.files import read
from gateway.errors import Mistakes, WrongUse
from gateway.metrology.instants import parse_rfc3339

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: the extra `parquet`")
pq = pytest.importorskip("pyarrow.parquet")

AT = parse_rfc3339("2026-05-01T01:00:00.123456789Z")


def write(path: Path, **columns: Sequence[object]) -> Path:
    table: Mapping[str, object] = {
        "time": pa.array([AT, AT + 10**9], pa.timestamp("ns", tz="UTC")), "device": ["scale-07", "scale-07"],
        "channel": ["mass", "mass"], "value": [5.1, 0.1 + 0.2], "unit": ["kg", "kg"],
    } | columns  # fmt: skip
    pq.write_table(pa.table(table), path)
    return path


def test_values_times_and_absent_facts_arrive_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", reference=[5.0, None], seq=[None, 7], boot=[None, "b"], stable=[True, None])
    first, second = read(path).readings
    assert (first.time, first.value, first.reference, first.seq, first.stable) == (AT, 5.1, 5.0, None, True)
    assert (second.time, second.value, second.reference) == (AT + 10**9, 0.1 + 0.2, None)
    assert (second.seq, second.boot, second.stable, second.record) == (7, "b", None, 2)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Ho_Chi_Minh", "+07:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_zone_is_how_a_time_is_shown_and_not_when_it_is(tmp_path: Path, zone: str, unit: str) -> None:
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    path = write(tmp_path / "r.parquet", time=pa.array([AT // scale, AT // scale + 1], pa.timestamp(unit, tz=zone)))
    assert [r.time for r in read(path).readings] == [AT // scale * scale, (AT // scale + 1) * scale]


@pytest.mark.parametrize(
    "time",
    [["2026-05-01T08:00:00+07:00", "2026-05-01T01:00:01Z"], [1777597200, 1777597201], [1777597200.0, 1777597201.0]],
)
def test_times_may_be_what_they_are_in_csv(tmp_path: Path, time: Sequence[object]) -> None:
    start = parse_rfc3339("2026-05-01T01:00:00Z")
    assert [r.time for r in read(write(tmp_path / "r.parquet", time=time)).readings] == [start, start + 10**9]


def test_the_same_table_as_csv_gives_the_same_readings(tmp_path: Path) -> None:
    columns: dict[str, Sequence[object]] = {
        "reference": [5.0, None],
        "temperature_C": [21.25, 1e-7],
        "evidence": ["check_weight", None],
    }
    path = write(tmp_path / "r.parquet", **columns)
    text = (
        "time,device,channel,value,unit,reference,temperature_C,evidence\n"
        "2026-05-01T01:00:00.123456789Z,scale-07,mass,5.1,kg,5.0,21.25,check_weight\n"
        "2026-05-01T01:00:01.123456789Z,scale-07,mass,0.30000000000000004,kg,,1e-7,\n"
    )
    (tmp_path / "r.csv").write_text(text)
    plain = [msgspec.structs.replace(r, record=None) for r in read(tmp_path / "r.csv").readings]
    assert [msgspec.structs.replace(r, record=None) for r in read(path).readings] == plain


@pytest.mark.parametrize(
    ("column", "cells", "reason"),
    [
        ("value", [5.0, float("nan")], "not_finite"),
        ("value", [5.0, None], "missing_field"),
        ("device", ["scale-07", "Scale 07"], "wrong_type"),
        ("seq", [1, -1], "wrong_type"),
        ("time", ["2026-05-01T08:00:00Z", "2026-05-01T08:00:00"], "bad_time"),
    ],
)
def test_a_damaged_row_is_named_and_only_kept_out_when_asked(
    tmp_path: Path, column: str, cells: Sequence[object], reason: str
) -> None:
    path = write(tmp_path / "r.parquet", **{column: cells})
    with pytest.raises(Mistakes) as refused:
        read(path)
    assert [(m.file, m.line) for m in refused.value.mistakes] == [(str(path), 2)]
    kept = read(path, keep_going=True)
    assert len(kept.readings) == 1
    assert [(u.record, u.reason.value) for u in kept.unreadable] == [(2, reason)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"time": pa.array([AT, AT], pa.timestamp("ns"))}, "no time zone"),
        ({"referance": [1.0, 2.0]}, "reference"),
        ({"x": [[1.0], [2.0]]}, "cannot be read"),
    ],
)
def test_columns_that_cannot_be_readings_are_refused(
    tmp_path: Path, columns: Mapping[str, Sequence[object]], said: str
) -> None:
    with pytest.raises(Mistakes, match=said):
        read(write(tmp_path / "r.parquet", **columns))


def test_a_file_that_is_no_parquet_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(b"time,device\n")
    with pytest.raises(Mistakes, match="no Parquet"):
        read(tmp_path / "r.parquet")
    with pytest.raises(WrongUse, match="cannot read"):
        read(tmp_path / "missing.parquet")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Mistakes, match="no Parquet"):
        read(path)
