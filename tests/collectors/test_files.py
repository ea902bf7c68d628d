"""Recorded files: every row is a reading or named with its line; rows read together are what they are alone."""

from __future__ import annotations

import csv
import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collectors import files
from collectors.decoders.records import NUMBERS
from collectors.decoders.strictjson import Members
from collectors.files import read, read_line
from gateway.errors import Mistakes, WrongUse
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import READING_FIELDS, Reading, Why

AT = 1772409600 * 10**9
HEADER = "time,device,channel,value,unit"
ROW = "2026-03-02T07:00:00+07:00,scale-07,mass,10.012,kg"
FULL: dict[str, Any] = {
    "time": "2026-03-02T07:00:00.000000001+07:00", "device": "scale-07", "channel": "mass", "value": "10.012",
    "unit": "kg", "reference": "10", "reference_u": "0.001", "standard": "std-1", "x": "10.0", "value_start": "1",
    "reference_start": "2", "seq": "17", "boot": "017", "stable": "true", "flow_m3h": "2.5", "current_A": "5",
    "power_factor": "0.8c", "phase": "L1", "direction": "import", "temperature_C": "21.5", "evidence": "check_weight",
}  # fmt: skip
FULL_READING = Reading(
    device="scale-07", channel="mass", time=AT + 1, value=10.012, unit="kg", reference=10.0, reference_u=0.001,
    standard="std-1", x=10.0, value_start=1.0, reference_start=2.0, seq=17, boot="017", stable=True, flow_m3h=2.5,
    current_A=5.0, power_factor=-0.8, phase="L1", direction="import", temperature_C=21.5, evidence="check_weight",
    record=2,
)  # fmt: skip


def written(tmp_path: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines_of(error: Mistakes) -> list[tuple[int | None, str]]:
    return [(m.line, m.key) for m in error.mistakes]


def test_every_field_is_read_from_csv(tmp_path: Path) -> None:
    assert set(FULL) == set(READING_FIELDS)
    path = written(tmp_path, ",".join(FULL) + "\n" + ",".join(FULL.values()) + "\n")
    assert read(path).readings == [FULL_READING]


def test_every_field_is_read_from_ndjson(tmp_path: Path) -> None:
    numbers = {k: float(v) if k in NUMBERS else v for k, v in FULL.items()} | {"seq": 17, "stable": True}
    path = written(tmp_path, "\n" + json.dumps(numbers) + "\r\n\n", "rows.ndjson")
    assert read(path).readings == [FULL_READING]


@pytest.mark.parametrize(
    ("text", "time"),
    [("1772409600", AT), ("1772409600.5", AT + 5 * 10**8), ("1772409600.000000001", AT + 1), ("1.7724096e9", AT)],
)
def test_epoch_seconds_are_exact(tmp_path: Path, text: str, time: int) -> None:
    (row,) = read(written(tmp_path, f"{HEADER}\n{text},a,b,1,kg\n")).readings
    line = f'{{"time":{text},"device":"a","channel":"b","value":1,"unit":"kg"}}'
    (same,) = read(written(tmp_path, line, "rows.jsonl")).readings
    assert row.time == same.time == time


def test_empty_cells_are_absent_facts(tmp_path: Path) -> None:
    text = f"{HEADER},reference,seq,boot,stable\n{ROW},10,1,a,1\n{ROW},,,,\n"
    first, second = read(written(tmp_path, text)).readings
    assert (first.reference, first.seq, first.boot, first.stable) == (10.0, 1, "a", True)
    assert (second.reference, second.seq, second.boot, second.stable) == (None, None, None, None)


def test_a_byte_order_mark_quotes_and_blank_lines_are_fine(tmp_path: Path) -> None:
    text = f'\ufeff{HEADER},phase\r\n\r\n"{ROW.replace(",", chr(34) + "," + chr(34))}","a, b"\r\n'
    (reading,) = read(written(tmp_path, text)).readings
    assert (reading.phase, reading.record) == ("a, b", 3)


@pytest.mark.parametrize("line", ['{"time":1772409600,"device":"a","channel":"b","value":1,"unit":"kg"}', '{"value":'])
def test_a_byte_order_mark_before_the_first_line_is_passed_over(tmp_path: Path, line: str) -> None:
    plain = read(written(tmp_path, line, "plain.ndjson"), keep_going=True)
    marked = read(written(tmp_path, f"\ufeff{line}", "plain.ndjson"), keep_going=True)
    assert (marked.readings, marked.unreadable) == (plain.readings, plain.unreadable)
    again = read(written(tmp_path, f"\ufeff{line}\n\ufeff{line}\n", "twice.ndjson"), keep_going=True)
    assert again.unreadable[-1].reason == "not_json"


def test_an_empty_file_of_lines_holds_nothing(tmp_path: Path) -> None:
    assert read(written(tmp_path, "", "rows.ndjson")).readings == []
    assert read(written(tmp_path, HEADER + "\n")).readings == []


lines = st.sampled_from(
    [
        '{"time":1772409600,"device":"a","channel":"b","value":1,"unit":"kg"}',
        ' {"time":"2026-03-02T00:00:00Z","device":"a","channel":"b","value":1,"unit":"kg","boot":7,"seq":1} \r',
        '{"time":1772409600.25,"device":"a","channel":"b","value":1,"unit":"kg","phase":null}',
        '{"time":1,"device":"a","channel":"b","value":1,"unit":"kg"},{"time":2,"device":"a","channel":"b","value":1}',
        '{"time":1,"device":"a","channel":"b","value":1',
        '"unit":"kg"}',
        "",
    ]
)


@given(st.lists(lines, max_size=5), st.integers(1, 80))
def test_lines_say_together_what_they_say_alone(some: list[str], times: int) -> None:
    together = files._Rows(file="line", source=0)
    files._read_ndjson(BytesIO("\n".join(some * times).encode()), together)
    alone = [read_line(line.encode()) for line in some * times]
    at = enumerate(alone, start=1)
    assert together.readings == [replace(r, record=n) for n, (readings, _) in at for r in readings]
    assert [(r.record, r.reason) for r in together.unreadable] == [
        (n, r.reason) for n, (_, refused) in enumerate(alone, start=1) for r in refused
    ]


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ("", [""]),
        ("time;device;channel;value;unit", [""]),
        ("time\tdevice", [""]),
        (HEADER + ",referense", ["referense"]),
        (HEADER + ",value", ["value"]),
        ("ts,device,channel,value,unit", ["ts", "time"]),
        ("time,value", ["device", "channel", "unit"]),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_whole(tmp_path: Path, header: str, keys: list[str]) -> None:
    with pytest.raises(Mistakes) as raised:
        read(written(tmp_path, f"{header}\n{ROW}\n"), keep_going=True)
    assert lines_of(raised.value) == [(1, key) for key in keys]


BAD = [
    ("2026-03-02T07:00:00,scale-07,mass,1,kg,", "bad_time"),
    (",scale-07,mass,1,kg,", "missing_field"),
    ("0,Scale 07,mass,1,kg,", "wrong_type"),
    ("0,scale-07,mass,nan,kg,", "not_finite"),
    ("0,scale-07,mass,1e400,kg,", "not_finite"),
    ('0,scale-07,mass,"1,5",kg,', "wrong_type"),
    ("0,scale-07,mass,1,5,kg,", "wrong_type"),
    ("0,scale-07,mass,1_0,kg,", "wrong_type"),
    ("0,scale-07,mass,\u0661,kg,", "wrong_type"),
    ("0,scale-07,mass,,kg,", "missing_field"),
    ("0,scale-07,mass,1,kg", "wrong_type"),
    ('0,scale-07,mass,1,"kg"x,', "wrong_type"),
    ("0,scale-07,mass,1,kg,-1", "wrong_type"),
    ("-1,scale-07,mass,1,kg,", "bad_time"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_an_unreadable_row_is_named_and_the_others_are_read(tmp_path: Path, row: str, reason: str) -> None:
    path = written(tmp_path, f"{HEADER},seq\n{ROW},1\n{row}\n{ROW},2\n")
    with pytest.raises(Mistakes) as raised:
        read(path)
    assert lines_of(raised.value) == [(3, reason)]
    assert raised.value.exit_code == 2
    assert f"{path}:3:" in str(raised.value)
    recording = read(path, keep_going=True)
    assert [r.seq for r in recording.readings] == [1, 2]
    assert [(r.reason.value, r.record) for r in recording.unreadable] == [(reason, 3)]
    assert f"{path}:3:" in recording.unreadable[0].detail


def test_all_unreadable_rows_are_named_together(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER},seq\n" + "".join(f"{row}\n" for row, _ in BAD))
    with pytest.raises(Mistakes) as raised:
        read(path)
    assert [line for line, _ in lines_of(raised.value)] == list(range(2, len(BAD) + 2))


def test_bytes_that_are_no_utf8_are_an_unreadable_row(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n".encode() + b"0,a,b,1,k\xff\n0,a,b,1,kg\n")
    recording = read(path, keep_going=True)
    assert [m.line for m in recording.mistakes] == [2]
    assert len(recording.readings) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x", "not_json"),
        (b"[]", "wrong_type"),
        (b'{"time":1,"device":"a","channel":"b","value":1,"unit":"\xff"}', "not_utf8"),
        (b'{"ts":1,"device":"a","channel":"b","value":1,"unit":"kg"}', "unknown_field"),
        (b'{"time":1,"device":"a","channel":"b","value":"1","unit":"kg"}', "wrong_type"),
        (b'{"time":1,"time":1,"device":"a","channel":"b","value":1,"unit":"kg"}', "duplicate_key"),
        (b'{"time":"1","time":"1","device":"a","channel":"b","value":1,"unit":"kg"}', "duplicate_key"),
        (b'{"time":1,"channel":"b","value":1,"unit":"kg"}', "missing_field"),
        (b'{"time":true,"device":"a","channel":"b","value":1,"unit":"kg"}', "wrong_type"),
        (b'{"time":"2026-03-02","device":"a","channel":"b","value":1,"unit":"kg"}', "bad_time"),
    ],
)
def test_an_unreadable_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    with pytest.raises(Mistakes) as raised:
        read(written(tmp_path, b"\n" + line + b"\n", "rows.ndjson"))
    assert lines_of(raised.value) == [(2, reason)]


@pytest.mark.parametrize("name", ["rows.txt", "missing.csv", "folder.csv"])
def test_a_file_that_cannot_be_used_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "rows.txt").write_text(HEADER)
    with pytest.raises(WrongUse):
        read(tmp_path / name)


def test_a_thousand_rows_keep_their_order_and_lines(tmp_path: Path) -> None:
    rng = random.Random(7)
    times = [AT + i * 1_250_000_000 for i in range(9001)]
    masses = [f"{rng.gauss(10, 0.01):.4f}" for _ in times]
    text = f"{HEADER},seq\n" + "".join(
        f"{format_instant(t)},scale-07,mass,{m},kg,{i}\n" for i, (t, m) in enumerate(zip(times, masses, strict=True))
    )
    readings = read(written(tmp_path, text)).readings
    assert [(r.time, r.value, r.seq, r.record) for r in readings] == [
        (t, float(m), i, i + 2) for i, (t, m) in enumerate(zip(times, masses, strict=True))
    ]


cells = st.one_of(
    st.sampled_from(
        ["", "1", "0", "-1", "+5", ".5", "5.", "1e3", "1e400", "nan", "-0", "007", "1_0", " 1", "true", "False"]
    ),
    st.sampled_from(
        ["zero", "0.5i", "1c", "9223372036854775808", "std-1", "x" * 257, "\u0661", "2026-03-02T07:00:00Z"]
    ),
    st.floats().map(repr),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\r\n"\0'), max_size=3),
)
extras = st.lists(st.sampled_from(READING_FIELDS[5:]), unique=True, max_size=4)


@given(names=extras, rows=st.lists(st.lists(cells, min_size=6, max_size=6), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_columns_read_what_single_rows_read(names: list[str], rows: list[list[str]]) -> None:
    header = [*HEADER.split(","), *names]
    full = [[*row[:1], "a", "b", row[1], "kg", *row[2 : 2 + len(names)]] for row in rows]
    together = files._columns(header, full, list(range(len(full))), 0)
    alone = files._Rows(file="rows.csv", source=0)
    for line, row in enumerate(full):
        alone.add(Members((n, files._value(n, c)) for n, c in zip(header, row, strict=True)), line, b"")
    if together is not None:
        assert together == alone.readings
        assert alone.mistakes == []


def test_a_plain_file_is_read_in_columns() -> None:
    rows = list(csv.reader([",".join(FULL.values())]))
    assert files._columns(list(FULL), rows, [2], 0) == [FULL_READING]


def test_a_line_nested_however_deep_is_refused() -> None:
    deep = b'{"time":' + 5_000 * b"[" + 5_000 * b"]" + b',"device":"a","channel":"m","value":1,"unit":"kg"}'
    readings, refused = read_line(deep)
    assert (list(readings), [r.reason for r in refused]) == ([], [Why.TOO_DEEP])
