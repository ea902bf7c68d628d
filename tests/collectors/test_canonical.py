"""Canonical JSON: what is a reading, what is refused and why, and that both ways of reading agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collectors.decoders import NOWHERE, Address, Decoded
from collectors.decoders.canonical import decode
from collectors.decoders.quick import quick_objects, quick_readings
from collectors.decoders.records import MAX_RECORDS, ON_MQTT, power_factor_text, read_record
from collectors.decoders.strictjson import MAX_BYTES, UnreadableError, elements, parse
from gateway.metrology.readings import EVIDENCE, READING_FIELDS, Reading

ADDRESS = Address(site="van-giang", device="scale-07", channel="mass")
AT = 1772409600 * 10**9
BASE = {"ts": 1772409600000, "value": 10.012, "unit": "kg"}


def read(payload: bytes | str | object, address: Address = ADDRESS) -> Decoded:
    data = payload if isinstance(payload, bytes) else payload if isinstance(payload, str) else json.dumps(payload)
    return decode(data if isinstance(data, bytes) else data.encode(), address, 0, None, AT)


def one(payload: bytes | str | object, address: Address = ADDRESS) -> Reading:
    decoded = read(payload, address)
    assert decoded.refused == []
    assert len(decoded.readings) == 1
    return decoded.readings[0]


def why(payload: bytes | str | object, address: Address = ADDRESS) -> str:
    decoded = read(payload, address)
    assert decoded.readings == []
    assert len(decoded.refused) == 1
    return decoded.refused[0].reason.value


FULL: dict[str, Any] = {
    **BASE, "device": "scale-07", "channel": "mass", "reference": 10, "reference_u": 0.001, "standard": "std-1",
    "x": 10.0, "value_start": 1, "reference_start": 2, "seq": 17, "boot": "a3", "stable": True, "flow_m3h": 2.5,
    "current_A": 5, "power_factor": "0.8c", "phase": "L1", "direction": "import", "temperature_C": 21.5,
    "evidence": "check_weight",
}  # fmt: skip


def test_every_field_of_the_contract_is_read() -> None:
    assert set(FULL) - {"ts"} | {"time"} == set(READING_FIELDS)
    expected = Reading(
        device="scale-07", channel="mass", time=AT, value=10.012, unit="kg", reference=10.0, reference_u=0.001,
        standard="std-1", x=10.0, value_start=1.0, reference_start=2.0, seq=17, boot="a3", stable=True, flow_m3h=2.5,
        current_A=5.0, power_factor=-0.8, phase="L1", direction="import", temperature_C=21.5, evidence="check_weight",
    )  # fmt: skip
    assert one(FULL) == expected
    assert read_record(parse(json.dumps(FULL).encode()), ADDRESS, ON_MQTT) == expected


@pytest.mark.parametrize(
    ("ts", "time"),
    [
        ("1772409600000", AT),
        ("1772409600000.5", AT + 500_000),
        ("1772409600000.000001", AT + 1),
        ("1.7724096e12", AT),
        ("0", 0),
        ('"1772409600000"', AT),
        ('"2026-03-02T00:00:00Z"', AT),
        ('"2026-03-02T07:00:00.000000001+07:00"', AT + 1),
    ],
)
def test_the_time_is_exact(ts: str, time: int) -> None:
    assert one(f'{{"ts":{ts},"value":1,"unit":"kg"}}').time == time


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not_json"),
        (b"  \n", "not_json"),
        (b"Online", "not_json"),
        (b'{"ts":1,"value":1,"unit":"kg"', "not_json"),
        (b'\xef\xbb\xbf{"ts":1,"value":1,"unit":"kg"}', "not_json"),
        (b'{"ts":1,"value":1,"unit":"kg"} x', "not_json"),
        (b"NaN", "not_json"),
        (b'{"ts":1,"value":1,"unit":"\xff"}', "not_utf8"),
        (b'{"ts":1,"value":1,"unit":"\\ud800"}', "not_utf8"),
        (b"7", "wrong_type"),
        (b"[]", "missing_field"),
        (b"{}", "missing_field"),
        (b'{"ts":1,"value":null,"unit":"kg"}', "missing_field"),
        (b'{"value":1,"unit":"kg"}', "missing_field"),
        (b'{"ts":1,"value":1}', "missing_field"),
        (b'{"ts":1,"value":1,"unit":"kg","referense":1}', "unknown_field"),
        (b'{"time":1,"ts":1,"value":1,"unit":"kg"}', "unknown_field"),
        (b'{"ts":1,"value":1,"value":1,"unit":"kg"}', "duplicate_key"),
        (b'{"ts":1,"value":1,"unit":"kg","uni\\u0074":"kg"}', "duplicate_key"),
        (b'{"ts":1,"value":1,"unit":"kg","seq":null,"seq":1}', "duplicate_key"),
        (b'{"ts":1,"value":true,"unit":"kg"}', "wrong_type"),
        (b'{"ts":1,"value":"21.5","unit":"kg"}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":5}', "wrong_type"),
        (b'{"ts":true,"value":1,"unit":"kg"}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","stable":1}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","seq":-1}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","seq":1.0}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","seq":9223372036854775808}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","evidence":"guess"}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","power_factor":0.5}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","power_factor":"1.2i"}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","reference_u":-1}', "wrong_type"),
        (b'{"ts":1,"value":1,"unit":"kg","standard":"Std 1"}', "wrong_type"),
        (b'{"ts":1,"value":1e400,"unit":"kg"}', "not_finite"),
        (b'{"ts":1,"value":-1e400,"unit":"kg"}', "not_finite"),
        (b'{"ts":1,"value":NaN,"unit":"kg"}', "not_finite"),
        (b'{"ts":1,"value":1,"unit":"kg","reference":-Infinity}', "not_finite"),
        (b'{"ts":"2026-03-02T08:00:00","value":1,"unit":"kg"}', "bad_time"),
        (b'{"ts":"yesterday","value":1,"unit":"kg"}', "bad_time"),
        (b'{"ts":-1,"value":1,"unit":"kg"}', "bad_time"),
        (b'{"ts":99999999999999999,"value":1,"unit":"kg"}', "bad_time"),
        (b'{"ts":1,"value":1,"unit":"kg","device":"scale-08"}', "identity_mismatch"),
        (b'{"ts":1,"value":1,"unit":"kg","channel":"flow"}', "identity_mismatch"),
        (b'{"ts":1,"value":[[[[[[[[1]]]]]]]],"unit":"kg"}', "too_deep"),
        (b'{"ts":1,"value":1,"unit":"kg","boot":"' + b"x" * 300 + b'"}', "too_large"),
        (b'{"ts":1,"value":1,"unit":"kg"}' + b" " * MAX_BYTES, "too_large"),
        (b"[" + b",".join([b'{"ts":1}'] * (MAX_RECORDS + 1)) + b"]", "too_large"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(payload: bytes, reason: str) -> None:
    assert why(payload) == reason


def test_a_misspelt_field_is_named_with_its_neighbour() -> None:
    detail = read({**BASE, "referense": 10}).refused[0].detail
    assert '"referense"' in detail
    assert '"reference"' in detail


def test_null_is_an_absent_fact() -> None:
    assert one({**BASE, "reference": None, "seq": None}) == one(BASE)


def test_a_numeric_boot_is_text() -> None:
    assert one({**BASE, "boot": 17}).boot == "17"


@pytest.mark.parametrize(
    ("written", "value", "shown"), [("1", 1.0, "1"), (1, 1.0, "1"), ("0.5i", 0.5, "0.5i"), ("0.8c", -0.8, "0.8c")]
)
def test_power_factors_are_signed(written: object, value: float, shown: str) -> None:
    assert one({**BASE, "power_factor": written}).power_factor == value
    assert power_factor_text(value) == shown


def test_bad_records_of_a_pack_go_alone_with_their_bytes() -> None:
    bad = b'{ "ts":1, "value":"x", "unit":"kg" }'
    pack = b"[" + b" , ".join([json.dumps(BASE).encode(), bad, b"7", json.dumps(BASE).encode()]) + b"]"
    decoded = read(pack)
    assert [r.record for r in decoded.readings] == [0, 3]
    assert [(r.record, r.reason.value, r.raw) for r in decoded.refused] == [
        (1, "wrong_type", bad),
        (2, "wrong_type", b"7"),
    ]


def test_a_payload_alone_may_name_its_device_or_nobody() -> None:
    assert one(FULL, NOWHERE).device == "scale-07"
    assert one(BASE, NOWHERE).device == ""
    assert why(BASE, Address()) == "missing_field"


fields = {
    "ts": st.integers(0, 10**19).map(lambda ns: f"{ns // 10**6}.{ns % 10**6:06d}".rstrip("0"))
    | st.sampled_from(["1772409600000.125", "1772409600001.250"])
    | st.sampled_from(["1772409600000", "1.5", '"2026-03-02T07:00:00+07:00"', '"2026-03-02T07:00:00"', "-1", "1e3"])
    | st.integers(-5, 10**19).map(str)
    | st.datetimes().map(lambda d: f'"{d.isoformat()}Z"'),
    "value": st.floats().map(json.dumps)
    | st.integers().map(str)
    | st.sampled_from(["-0", "-0.0", "true", '"1"', "1e400"]),
    "unit": st.text(max_size=3).map(lambda t: json.dumps(t, ensure_ascii=False)) | st.just("5"),
    "device": st.sampled_from(['"scale-07"', '"scale-08"', '""', "null", "7", '"A"']),
    "channel": st.sampled_from(['"mass"', '"flow"', "null"]),
    "seq": st.integers(-1, 2**64).map(str) | st.sampled_from(["-0", "1.0", "null", '"1"']),
    "boot": st.integers().map(str) | st.sampled_from(['"b"', "null", "1.5", "-0", "1" * 60, '"' + "x" * 257 + '"']),
    "reference": st.floats().map(json.dumps),
    "reference_u": st.floats().map(json.dumps),
    "standard": st.sampled_from(['"std-1"', '"Std"', "null", "1"]),
    "stable": st.sampled_from(["true", "false", "0", "null"]),
    "flow_m3h": st.floats().map(json.dumps),
    "power_factor": st.sampled_from(["1", "1.0", "0.5", '"1"', '"0.5i"', '"0.8c"', '"0.5"', '"1c"', '"2i"', "null"]),
    "phase": st.text(max_size=3).map(json.dumps),
    "evidence": st.sampled_from([f'"{e}"' for e in EVIDENCE] + ['"x"', "null"]),
    "x_": st.just("1"),
}  # fmt: skip
numbers = st.floats(allow_nan=False, allow_infinity=False).map(repr)
readable = {
    "ts": st.tuples(st.integers(1, 2000).map(str), st.sampled_from(["", ".5", ".25", ".125", ".123456"])).map("".join),
    "value": numbers,
    "unit": st.sampled_from(['"kg"', '"},{"', '"null"']),
    "seq": st.integers(0, 9).map(str) | st.just("null"),
    "boot": st.sampled_from(['"b"', "17", "null"]),
    "reference": numbers,
    "power_factor": st.sampled_from(["1", '"0.8c"', "null"]),
    "phase": st.sampled_from(['"L1"', "null"]),
}  # fmt: skip
spaces = st.sampled_from(["", " ", "\n"])


@st.composite
def records(draw: st.DrawFn, of: dict[str, st.SearchStrategy[str]] = fields, *, repeats: bool = True) -> str:
    names = ["ts", "value", "unit", *draw(st.lists(st.sampled_from(sorted(of)), max_size=6))]
    held = [(name, draw(of[name])) for name in (names if repeats else dict.fromkeys(names))]
    held = draw(st.permutations(held))
    gap = draw(spaces)
    return "{" + ",".join(f'"{name}"{gap}:{gap}{value}' for name, value in held) + "}"


def explained(payload: bytes, address: Address) -> list[Reading] | None:
    """What the slow way alone reads; None if any of it is refused."""
    try:
        pack = elements(payload, limit=MAX_RECORDS)
        if pack is None:
            return [read_record(parse(payload), address, ON_MQTT)]
        return [read_record(value, address, ON_MQTT, record=i) for i, (value, _) in enumerate(pack)]
    except UnreadableError:
        return None


@given(
    texts=st.lists(records(), min_size=1, max_size=4),
    is_pack=st.booleans(),
    address=st.sampled_from([ADDRESS, NOWHERE, Address()]),
)
@example(texts=['{"ts" :1, "ts":1,"value":1,"unit":":a"}'], is_pack=False, address=ADDRESS)
@example(texts=['{"ts":1,"value":1,"unit":"kg","phase":null,"phase":"a"}'], is_pack=True, address=ADDRESS)
@settings(max_examples=600, deadline=None)
def test_the_quick_way_reads_only_what_the_slow_way_reads(texts: list[str], is_pack: bool, address: Address) -> None:
    payload = (f"[{','.join(texts)}]" if is_pack else texts[0]).encode(errors="replace")
    quick = quick_readings(payload, address, 0)
    slow = explained(payload, address)
    if quick is not None:
        assert quick == slow


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25))
@settings(max_examples=500, deadline=None)
def test_numbers_are_the_nearest_floats(value: float) -> None:
    payload = f'{{"ts":1,"value":{value!r},"unit":"kg"}}'.encode()
    quick = quick_readings(payload, ADDRESS, 0)
    assert quick is not None
    assert quick[0].value == float(value)


@given(
    texts=st.lists(records(readable, repeats=False), min_size=2, max_size=4),
    address=st.sampled_from([ADDRESS, NOWHERE, Address()]),
)
@example(texts=[f'{{"ts":{ts},"value":1,"unit":"kg"}}' for ts in ("1.5", "22.55", "2.55")], address=ADDRESS)
@settings(max_examples=600, deadline=None)
def test_objects_read_together_are_what_the_slow_way_reads(texts: list[str], address: Address) -> None:
    payloads = [text.encode(errors="replace") for text in texts]
    quick = quick_objects(payloads, [address] * len(payloads), 0)
    slow = [explained(payload, address) for payload in payloads]
    event("together" if quick is not None else "not all readable" if None in slow else "one by one")
    if quick is not None:
        assert [[replace(reading, source=0)] for reading in quick] == slow


def test_a_usual_reading_is_read_the_quick_way() -> None:
    full = json.dumps(FULL).encode()
    nulls = json.dumps({**BASE, "reference": None, "phase": "null"}).encode()
    for payload in (json.dumps(BASE).encode(), full, b"[" + full + b"," + full + b"]", nulls, b"[" + nulls + b"]"):
        assert quick_readings(payload, ADDRESS, 0) is not None
