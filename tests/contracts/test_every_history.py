"""Every history store gives the same answers: what CONTRACTS §5 and §6 say, whoever keeps the readings.

The ledger is asked with and without roll-ups. InfluxDB is asked when METERGATE_TEST_INFLUX_URL, _TOKEN and _ORG name a
real server: the readings are forwarded to it as the gateway forwards them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from gateway.errors import WrongUse
from gateway.history import BUCKET_FIELDS, RAW_FIELDS, History, Query
from gateway.history.asking import page, resolution_for, rows_of
from gateway.history.rolling import catch_up
from gateway.metrology.instants import parse_rfc3339
from gateway.metrology.readings import Reading
from tests.history.influx import forwarded
from tests.history.support import DAY, HOUR, MINUTE, START, Centre
from tests.history.test_gaps_of_devices import CHANNELS, in_turns
from tests.history.test_gaps_of_devices import board as board_says

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
MASS = Query(device="scale", channel="mass", zone=ZONE)
METER = Query(device="meter", zone=ZONE)
METER_CHANNELS = ("active_energy", "voltage")


def mass(moment: int, value: float, seq: int | None = None, **more: object) -> Reading:
    return Reading(
        device="scale", channel="mass", unit="kg", time=START + moment, value=value, seq=seq,
        boot=None if seq is None else "b1", **more,  # type: ignore[arg-type]
    )  # fmt: skip


def meter(channel: str, unit: str, moment: int, value: float, seq: int | None = None) -> Reading:
    return Reading(
        device="meter", channel=channel, unit=unit, time=START + moment, value=value, seq=seq,
        boot=None if seq is None else "b2",
    )  # fmt: skip


def life() -> list[list[Reading]]:
    """Return batches: two days of a scale with checks, a register, a voltage; twins, gaps, late ones, nanoseconds."""
    checks = [mass(i * 37 * MINUTE, 5.0 + 0.001 * (i % 5), i, reference=5.0, reference_u=0.0002) for i in range(70)]
    loads = [mass(i * 11 * MINUTE + 5, 3.0 + i % 4, None, x=2.5, stable=None) for i in range(200)]
    twins = [mass(90 * MINUTE + 7, v) for v in (4.25, 1.5, 2.75)]
    wild = [mass(5 * HOUR + 1, 16.0), mass(5 * HOUR + 2, 2.0, stable=False), mass(5 * HOUR + 3, 2.0, stable=True)]
    register = [meter("active_energy", "kWh", i * 10 * MINUTE, 1000 + i * 0.5, i + (i > 60)) for i in range(288)]
    voltage = [meter("voltage", "V", i * 97 * MINUTE + 123_456_789, 230 + i / 8) for i in range(30)]
    voltage = [structs.replace(r, seq=i, boot="b2", seq_per_device=True) for i, r in enumerate(voltage)]
    late = [mass(3 * HOUR + 3, 5.004, 500, reference=5.0, reference_u=0.0002), meter("voltage", "V", 1, 229.0)]
    board = [
        *in_turns(20, 41, 42, 77, n=100),
        board_says("left", 10 * MINUTE, 2**53 + 3),
        board_says("right", 11 * MINUTE, 2**53 + 4),
    ]
    filling = [board_says("left", 770 * MINUTE, 77)]  # late, by another channel than the gap showed at
    return [[*checks, *loads], [*twins, *wild], register, voltage, late, board, filling]


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    made = Centre(tmp_path_factory.mktemp("history"))
    for batch in life():
        made.put(sorted(batch, key=lambda r: r.time))
    catch_up(made.ledger, START + DAY)  # the second day is not rolled up
    yield made
    made.close()


@pytest.fixture(scope="module", params=["ledger", "ledger without roll-ups", "influx"])
def store(request: pytest.FixtureRequest, centre: Centre) -> Iterator[History]:
    with ExitStack() as stack:
        if request.param == "influx":
            url, token, org = (os.environ.get(f"METERGATE_TEST_INFLUX_{n}") for n in ("URL", "TOKEN", "ORG"))
            if not (url and token and org):
                pytest.skip("METERGATE_TEST_INFLUX_URL, _TOKEN and _ORG name no InfluxDB")
            yield stack.enter_context(forwarded(centre, url, token, org))
        else:
            yield centre.history(rollups=request.param == "ledger")


def plain(centre: Centre) -> History:
    return centre.history(rollups=False)


SPANS = [(None, None), (START + 90 * MINUTE, START + 30 * HOUR), (START + 5 * HOUR + 1, START + 5 * HOUR + 2)]
BOARD = Query(device="board", zone=ZONE)
QUERIES = [
    MASS,
    BOARD,
    replace(MASS, zone=ZoneInfo("Asia/Kolkata")),
    METER,
    Query(device="meter", channel="active_energy"),
]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("resolution", ["raw", "1m", "1h", "1d"])
def test_the_answer_is_that_of_the_readings(
    store: History, centre: Centre, query: Query, span: tuple[int | None, int | None], resolution: str
) -> None:
    asked = replace(query, start=span[0], end=span[1])
    rows = list(rows_of(store, asked, resolution))
    assert rows == list(rows_of(plain(centre), asked, resolution))
    assert all(tuple(r) == (RAW_FIELDS if resolution == "raw" else BUCKET_FIELDS) for r in rows)


def test_raw_rows_are_in_order_and_twins_are_all_there(store: History) -> None:
    rows = list(store.raw(MASS))
    times = [parse_rfc3339(str(r["time"])) for r in rows]
    assert times == sorted(times)
    twins = [r["value"] for r in rows if r["time"] == "2026-03-28T01:30:00.000000007Z"]
    assert twins == [1.5, 2.75, 4.25]


def test_a_scale_that_says_it_stood_still_is_not_one_that_says_nothing(store: History) -> None:
    said = {r["time"]: r["stable"] for r in store.raw(replace(MASS, start=START + 5 * HOUR, end=START + 6 * HOUR))}
    wild = [f"2026-03-28T05:00:00.00000000{i}Z" for i in (1, 2, 3)]
    assert [said[t] for t in wild] == [None, False, True]
    assert set(said.values()) == {None, False, True}


def test_a_seq_that_counts_the_whole_device_leaves_no_gaps_in_a_channel(store: History) -> None:
    gaps = {c: sum(int(str(b["gaps"])) for b in store.buckets(replace(METER, channel=c), "1h")) for c in METER_CHANNELS}
    assert gaps == {"active_energy": 1, "voltage": 0}


def test_a_number_that_the_whole_device_lost_is_a_gap_where_it_shows(store: History) -> None:
    gaps = {
        c: {str(b["time"])[11:13]: b["gaps"] for b in store.buckets(replace(BOARD, channel=c), "1h") if b["gaps"]}
        for c in CHANNELS
    }
    assert gaps == {"left": {"00": 1}, "right": {"03": 1, "07": 1}}


def test_an_interval_is_half_open(store: History) -> None:
    one = replace(MASS, start=START + 90 * MINUTE + 7, end=START + 90 * MINUTE + 8)
    assert len(list(store.raw(one))) == 3
    assert list(store.raw(replace(one, end=one.start))) == []
    assert list(store.buckets(replace(one, end=one.start), "1h")) == []


def test_a_register_advances_from_bucket_to_bucket_without_a_hole(store: History) -> None:
    query = Query(device="meter", channel="active_energy", zone=ZONE)
    for resolution in ("1h", "1d"):
        found = list(store.buckets(query, resolution))
        assert all(b["mean"] is None for b in found)
        assert sum(float(str(b["delta"])) for b in found) == pytest.approx(
            286 * 0.5
        )  # one step is lost in the exchange


def test_an_exceedance_shows_in_every_resolution(store: History) -> None:
    for resolution in ("1m", "1h", "1d"):
        found = list(store.buckets(MASS, resolution))
        assert max(float(str(b["max"])) for b in found) == 16.0
        assert min(
            float(str(b["worst_margin_percent"])) for b in found if b["worst_margin_percent"] is not None
        ) == pytest.approx(60)
        assert {"unstable"} <= {b["quality"] for b in found}


def test_the_span_is_the_first_and_last_reading(store: History) -> None:
    assert store.span(MASS) == (START, START + 69 * 37 * MINUTE)
    assert store.span(replace(MASS, start=START + 400 * DAY)) is None
    assert store.channels("meter") == ["active_energy", "voltage"]
    assert resolution_for(store, MASS) == "1m"
    assert resolution_for(store, replace(MASS, end=START + DAY)) == "raw"


@pytest.mark.parametrize("resolution", ["raw", "1h", "1d"])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_are_the_whole_and_nothing_twice(store: History, resolution: str, limit: int) -> None:
    query = replace(METER, end=START + 9 * HOUR) if limit == 1 else METER
    rows, after = [], None
    while True:
        some = page(store, query, resolution, limit, after)
        rows += some.rows
        if some.after is None:
            break
        assert some.rows
        after = some.after
    assert rows == list(rows_of(store, query, resolution))


def test_a_page_keeps_one_moment_together(store: History) -> None:
    twins = replace(MASS, start=START + 90 * MINUTE + 7)
    first = page(store, twins, "raw", 1)
    assert [r["value"] for r in first.rows] == [1.5, 2.75, 4.25]
    assert page(store, twins, "raw", 1, first.after).rows[0]["value"] != 4.25


@pytest.mark.parametrize("cursor", ["", "mass", "mass~", "mass~-1", "mass~x", "~5", "mass~99999999999999999999"])
def test_what_is_no_cursor_is_refused(store: History, cursor: str) -> None:
    with pytest.raises(WrongUse, match="cursor"):
        page(store, MASS, "raw", 10, cursor)
