"""A register's advance per bucket is the sum of what each of its readings advanced, wherever the buckets are cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.history import Query
from gateway.history.rolling import catch_up
from gateway.metrology.readings import Reading
from tests.history.support import DAY, HOUR, MINUTE, START, Centre

STEADY = [1000.0 + i for i in range(40)]


def put(centre: Centre, values: list[float], every: int = 20 * MINUTE) -> None:
    centre.put(
        [
            Reading(device="meter", channel="active_energy", unit="kWh", time=START + i * every, value=v)
            for i, v in enumerate(values)
        ]
    )


def deltas(centre: Centre, start: int | None = None, end: int | None = None) -> list[float]:
    query = Query(device="meter", channel="active_energy", start=start, end=end)
    found = centre.buckets(query, "1h")
    assert found == centre.buckets(query, "1h", rollups=False)
    return [float(str(b["delta"])) for b in found]


@pytest.mark.parametrize("place", range(1, 39))
@pytest.mark.parametrize(
    ("value", "total"),
    [(5000.0, 39.0), (0.0, 39.0)],
    ids=["a spike", "a dropout"],
)
def test_one_value_out_of_line_is_no_consumption(tmp_path: Path, place: int, value: float, total: float) -> None:
    centre = Centre(tmp_path)
    put(centre, [*STEADY[:place], value, *STEADY[place + 1 :]])
    catch_up(centre.ledger, START + DAY)
    found = deltas(centre)
    assert sum(found) == total
    assert max(found) <= 4
    centre.close()


@pytest.mark.parametrize("place", [17, 18, 19, 20])
def test_a_reset_advances_by_nothing_and_a_rollover_over_the_top(tmp_path: Path, place: int) -> None:
    centre = Centre(tmp_path)
    put(centre, [*STEADY[:place], *(float(i) for i in range(40 - place))])
    catch_up(centre.ledger, START + DAY)
    assert sum(deltas(centre)) == 38
    centre.close()
    second = Centre(tmp_path / "second")
    put(second, [(1e6 - place + i) % 1e6 for i in range(40)])
    catch_up(second.ledger, START + DAY)
    assert sum(deltas(second)) == 39
    second.close()


def test_an_exchange_is_no_consumption_even_upwards(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    put(centre, [*(float(i) for i in range(30)), *(70_000.0 + i for i in range(10))], every=HOUR)  # at hour 30
    catch_up(centre.ledger, START + 5 * DAY)
    assert sum(deltas(centre)) == 29 + 9
    centre.close()


@pytest.mark.parametrize("cut", range(3, 37))
def test_an_interval_says_of_its_hours_what_the_whole_says(tmp_path: Path, cut: int) -> None:
    values = [*STEADY[:19], 0.0, *STEADY[20:25], 3.0, *(float(i) for i in range(4, 18))]
    centre = Centre(tmp_path)
    put(centre, values)
    catch_up(centre.ledger, START + DAY)
    at = START + cut * 20 * MINUTE
    assert sum(deltas(centre, end=at)) + sum(deltas(centre, start=at)) == sum(deltas(centre))
    centre.close()


def test_steps_are_decimal(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    put(centre, [round(1000 + i * 0.1, 1) for i in range(13)])
    catch_up(centre.ledger, START + DAY)
    assert deltas(centre) == [0.2, 0.3, 0.3, 0.3, 0.1]
    centre.close()
