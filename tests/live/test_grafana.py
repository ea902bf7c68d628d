"""Every query of the dashboards, asked of a real InfluxDB: the tables have the shape that their panel takes.

Grafana's Flux source makes a series of a table with `_value` and a time, named by `_field` and labelled by the other
columns, and of all others a table as it is (its `pkg/tsdb/influxdb/flux/builder.go`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.history.forward import Feed
from gateway.history.rolling import catch_up
from tests.history.support import DAY, HOUR, START, Centre
from tests.history.test_rolled_equals_made import check
from tests.influx.real import Bucket, bucket
from tests.influx.test_forwarded_rollups import InServer
from tests.test_grafana import DASHBOARDS, read

MADE_BY_FLUX = {"", "result", "table", "_start", "_stop"}
PANELS = [(file.stem, panel) for file in DASHBOARDS for panel in read(file)["panels"]]
VARIABLES = [(file.stem, variable) for file in DASHBOARDS for variable in read(file)["templating"]["list"]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    centre = Centre(tmp_path_factory.mktemp("centre"))
    centre.put([check(i * HOUR, 5.001 + 0.0004 * (i % 3)) for i in range(40)])
    centre.put([check(40 * HOUR, 5.2)])
    catch_up(centre.ledger, START + 9 * DAY)
    with bucket() as real:
        feed, server = Feed(centre.ledger, "s", "here"), InServer(real)
        while (parcel := feed.next()) is not None:
            server.take(parcel)
            feed.settle(parcel, [], 1)
        yield real
    centre.close()


def asked(real: Bucket, query: str, since: str = "2026-03-20") -> list[dict[str, str]]:
    """Return the rows of a query as Grafana would ask it, from a day on; default before the first reading."""
    known = {"site": "s", "device": "scale", "channel": "mass"}
    query = re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], query)
    query = query.replace("v.timeRangeStart", f"{since}T00:00:00Z").replace("v.timeRangeStop", "2026-04-20T00:00:00Z")
    return real.query(query.replace('"metergate"', f'"{real.name}"').replace("-365d", "0"))


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{b}: {p['title']}" for b, p in PANELS])
def test_a_panel_gets_the_tables_it_can_show(filled: Bucket, board: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        rows = asked(filled, target["query"])
        assert rows, f"{board} shows nothing"
        for row in rows:
            columns = set(row) - MADE_BY_FLUX
            is_series = {"_time", "_value"} <= columns
            assert is_series == (panel["type"] == "timeseries"), columns
            if is_series:
                assert "_field" in columns or panel["fieldConfig"]["defaults"].get("displayName")
                assert row["_value"] == "" or isinstance(float(row["_value"]), float)
    if panel["type"] == "stat":
        assert len(rows) == 1
        assert max(float(v) for k, v in rows[0].items() if k not in MADE_BY_FLUX) > 0


@pytest.mark.parametrize("board", ["fleet", "alarms"])
def test_an_alarm_that_stands_is_shown_whenever_it_was_raised(filled: Bucket, board: str) -> None:
    (panel,) = (p for b, p in PANELS if b == board and p["title"].startswith("Open alarms"))
    query = panel["targets"][0]["query"]
    assert asked(filled, query, "2026-04-10") == asked(filled, query) != []


@pytest.mark.parametrize(("board", "variable"), VARIABLES, ids=[f"{b}: {v['name']}" for b, v in VARIABLES])
def test_a_variable_offers_what_there_is(filled: Bucket, board: str, variable: dict[str, Any]) -> None:
    offered = {row["_value"] for row in asked(filled, variable["query"]["query"])}
    assert offered == {"site": {"s"}, "device": {"scale"}, "channel": {"mass"}}[variable["name"]], board
