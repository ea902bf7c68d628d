"""A cursor is a place: what comes while someone turns pages neither repeats nor hides a row."""

from __future__ import annotations

from pathlib import Path

from gateway.history import Query
from gateway.history.asking import page
from gateway.metrology.readings import Reading
from tests.history.support import MINUTE, START, Centre


def volts(*minutes: int) -> list[Reading]:
    return [
        Reading(device="meter", channel="voltage", unit="V", time=START + m * MINUTE, value=float(m)) for m in minutes
    ]


def test_rows_that_come_meanwhile_shift_no_page(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    centre.put(volts(*range(0, 40, 2)))
    store, query = centre.history(), Query(device="meter")
    first = page(store, query, "raw", 5)
    centre.put(volts(1, 3, 5, 21, 41))
    second = page(store, query, "raw", 100, first.after)
    assert [r["value"] for r in first.rows] == [0, 2, 4, 6, 8]
    assert [r["value"] for r in second.rows] == [10, 12, 14, 16, 18, 20, 21, *range(22, 40, 2), 41]
    assert second.after is None
    centre.close()
