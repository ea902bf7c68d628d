"""Lines read back as what was written, or are refused: corpus of InfluxData, naughty strings, any text at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.history.lineprotocol import Field, Unencodable, number, point, series, text
from tests.influx.lines import Malformed, Point, parse, parse_line, split_lines

INPUTS = Path(__file__).parents[2].parent / "shared" / "inputs"


def shared(name: str) -> Any:
    path = INPUTS / name
    if not path.exists():
        pytest.skip(f"the shared inputs are not here: {name}")
    return json.loads(path.read_text(encoding="utf-8"))


def read_back(line: str) -> Point:
    (found,) = parse(line.encode())
    return found


def as_floats(fields: list[dict[str, Any]]) -> dict[str, Field]:
    """The corpus has integers; we write every number as a float."""
    found: dict[str, Field] = {}
    for field in fields:
        ((kind, value),) = field["value"].items()
        found[field["key"]] = float(value) if kind in {"int", "uint", "float"} else value
    return found


def test_every_point_of_the_corpus_is_encoded_as_it_says() -> None:
    cases = shared("line-protocol-corpus/encode.json")["encode"].values()
    assert len(cases) == 115
    for case in cases:
        given_point, said = case["input"]["point"], case["output"]
        tags = {t["key"]: t["value"] for t in given_point["tags"]}
        fields = as_floats(given_point["fields"])
        if "error" in said:
            with pytest.raises(Unencodable, match="is empty"):
                point(given_point["name"], tags, fields, given_point["time"])
            continue
        line = point(given_point["name"], tags, fields, given_point["time"])
        wanted = parse_line(said["result"])
        got = read_back(line)
        assert (got.measurement, got.tags, got.time) == (wanted.measurement, wanted.tags, wanted.time)
        assert dict(got.fields) == {k: v if isinstance(v, str | bool) else float(v) for k, v in wanted.fields}
        assert line.split(" ")[0] == said["result"].split(" ")[0]


def test_the_reader_of_the_tests_agrees_with_the_corpus() -> None:
    cases = shared("line-protocol-corpus/decode-nonfuzz.json")["decode"].values()
    read = 0
    for case in cases:
        said = case["output"].get("result")
        if case["input"]["implementation"] != "influxdbv2models" or not said or len(said) != 1:
            continue
        wanted = said[0]
        try:
            got = read_back(case["input"]["text"])
        except Malformed as error:
            pytest.fail(f"{case['input']['text']!r}: {error}")
        assert got.measurement == wanted["name"]
        assert got.tags == tuple((t["key"], t["value"]) for t in wanted["tags"])
        read += 1
    assert read > 60


def test_naughty_names_and_texts_come_back_or_are_refused() -> None:
    refused = 0
    for naughty in shared("naughty-strings/blns.json"):
        assert dict(read_back(point("reading", {}, {"text": naughty}, 1)).fields) == {"text": naughty}
        try:
            line = point("reading", {"device": naughty}, {"value": 1.0}, 1)
        except Unencodable:
            refused += 1
            assert not naughty or naughty[-1] == "\\" or any(c in naughty for c in "\n\r\0\t\f\v")
            continue
        assert read_back(line).tags == (("device", naughty),)
    assert refused < 20


NAMES = st.text(min_size=1).filter(lambda s: not s.startswith("#"))
FIELDS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text())


@given(
    measurement=NAMES,
    tags=st.dictionaries(NAMES, st.text(), max_size=4),
    fields=st.dictionaries(NAMES, FIELDS, min_size=1, max_size=5),
    time=st.integers(-(2**63), 2**63 - 1),
)
def test_a_line_reads_back_as_the_point_or_is_refused(
    measurement: str, tags: dict[str, str], fields: dict[str, Field], time: int
) -> None:
    try:
        line = point(measurement, tags, dict(fields), time)
    except Unencodable:
        return
    got = read_back(line)
    assert got.measurement == measurement
    assert dict(got.tags) == tags
    assert dict(got.fields) == fields
    assert {k: type(v) for k, v in got.fields} == {k: type(v) for k, v in fields.items()}
    assert got.time == time


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_no_text_starts_a_line_of_its_own(texts: list[str]) -> None:
    body = "\n".join(point("alarm", {"site": "s"}, {"text": t}, i) for i, t in enumerate(texts))
    assert len(split_lines(body)) == len(texts)
    assert [dict(p.fields)["text"] for p in parse(body.encode())] == texts


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_floats_and_exact(value: float) -> None:
    said = number(value)
    assert float(said) == value
    assert "e" in said or "." in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(Unencodable, match="no number"):
        number(value)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"device": "a\nreading value=1"}, "line break"),
        ({"device": "a\\"}, "backslash"),
        ({"device": ""}, "empty"),
        ({"": "a"}, "empty"),
        ({"device": "\ud800"}, "surrogate"),
    ],
)
def test_a_name_that_could_break_out_is_refused(tags: dict[str, str], why: str) -> None:
    with pytest.raises(Unencodable, match=why):
        series("reading", tags)


def test_half_a_surrogate_pair_in_a_text_is_refused() -> None:
    with pytest.raises(Unencodable, match="surrogate"):
        text("\ud800")


def test_a_point_needs_a_field() -> None:
    with pytest.raises(Unencodable, match="no field"):
        point("reading", {}, {"value": None}, 1)
