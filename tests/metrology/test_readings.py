"""Readings as columns are the readings they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.readings import Reading, Readings

SOME = st.sampled_from

some = st.lists(
    st.builds(
        Reading,
        device=SOME(["a", "b"]),
        channel=SOME(["mass", "flow"]),
        time=st.integers(0, 9),
        value=SOME([0.0, 1.5]),
        unit=SOME(["kg", "g"]),
        reference=SOME([None, 0.0]),
        seq=SOME([None, 0, 1]),
        boot=SOME([None, "", "b"]),
        stable=SOME([None, False]),
        clock_suspect=st.booleans(),
        source=st.integers(0, 3),
        record=SOME([None, 0, 1]),
    ),
    max_size=5,
)


@given(some)
def test_they_come_back_as_they_were(readings: list[Reading]) -> None:
    columns = Readings.of(readings)
    assert list(columns) == readings
    assert columns == readings
    assert [columns[i] for i in range(-len(columns), len(columns))] == readings * 2
    for name in ("time", "seq", "clock_suspect", "record"):
        assert list(columns.column(name)) == [getattr(r, name) for r in readings]


@given(some, st.integers(0, 6), st.integers(0, 6))
def test_a_part_is_what_a_part_of_the_list_is(readings: list[Reading], start: int, end: int) -> None:
    assert Readings.of(readings)[start:end] == readings[start:end]


@given(st.lists(some, max_size=4), st.booleans())
def test_joined_they_follow_each_other(parts: list[list[Reading]], as_columns: bool) -> None:
    joined = Readings.join([Readings.of(part) for part in parts] if as_columns else parts)
    assert joined == [reading for part in parts for reading in part]
