"""Histories as text: CSV that csv readers read back, and that no spreadsheet program runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from gateway.history import BUCKET_FIELDS, RAW_FIELDS
from gateway.history.formats import PAGE, csv_text

numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
words = st.one_of(
    st.none(), st.sampled_from(["b1", "", "=1+1", "-7", "@x", 'a "b", c', "two\nlines", "cr\rhere", "m³/h"])
)
raw_rows = st.fixed_dictionaries(
    dict.fromkeys(RAW_FIELDS, numbers)
    | {
        "time": st.just("2026-05-01T00:00:00Z"),
        "received_at": st.just("2026-05-01T00:00:00.000000001Z"),
        "device": st.sampled_from(["scale-07", "a,b"]),
        "channel": st.just("mass"),
        "unit": words,
        "seq": st.one_of(st.none(), st.integers(0, 2**63 - 1)),
        "boot": words,
        "stable": st.sampled_from([None, True, False]),
        "quality": st.just("good"),
        "late": st.booleans(),
    }
)


def expected(field: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else repr(value)
    return "'" + text if field in {"unit", "boot"} and text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


@given(st.lists(raw_rows, max_size=8), st.sampled_from([1, PAGE // 3]))
def test_csv_reads_back_as_it_was_and_no_text_is_a_formula(rows: list[Mapping[str, object]], times: int) -> None:
    given_rows = rows * times
    text = "".join(csv_text(RAW_FIELDS, given_rows))
    header, *found = csv.reader(io.StringIO(text, newline=""))
    assert tuple(header) == RAW_FIELDS
    assert found == [[expected(f, row[f]) for f in RAW_FIELDS] for row in given_rows]


def test_an_empty_history_is_a_header() -> None:
    assert "".join(csv_text(BUCKET_FIELDS, [])) == ",".join(BUCKET_FIELDS) + "\n"
