"""The dashboards ask for what the forwarder writes (CONTRACTS §8), of the data source that is provisioned."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.pipeline.judge import verdict_dtype

GRAFANA = Path(__file__).resolve().parents[1] / "config" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
WIDTH = 24
FIELDS = {
    "reading": {"value"},
    "verdict": {n for n in verdict_dtype().names or () if verdict_dtype()[n].kind == "f"},
    "alarm": {"alarm", "transition", "state", "severity", "reason", "by", "until", "text", "level"},
    "rollup_1h": {"n", "checks", "min", "max", "mean", "first", "last", "delta", "worst_margin_percent"},
}
TAGS = {"site", "device", "channel", "kind"}


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def queries(board: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the title of the panel and the text of each query."""
    return [(p["title"], t["query"]) for p in board["panels"] for t in p["targets"]]


def test_there_is_a_fleet_a_device_and_an_alarm_board_each_with_its_own_id() -> None:
    assert {f.stem for f in DASHBOARDS} == {"fleet", "device", "alarms"}
    assert len({read(f)["uid"] for f in DASHBOARDS}) == len(DASHBOARDS)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda f: f.stem)
def test_every_query_asks_for_measurements_fields_and_tags_that_are_written(file: Path) -> None:
    for title, text in queries(read(file)):
        (measurement,) = re.findall(r'_measurement == "(\w+)"', text)
        asked = set(re.findall(r'_field == "(\w+)"', text))
        assert asked
        assert asked <= FIELDS[measurement]
        assert set(re.findall(r"r\.(?!_)(\w+) ==", text)) <= TAGS
        start = "0" if title.startswith("Open alarms") else "v.timeRangeStart"  # open is open, whenever it was raised
        assert f"range(start: {start}, stop: v.timeRangeStop)" in text


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda f: f.stem)
def test_panels_lie_within_the_grid_and_over_no_other(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    panels = read(file)["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    for p in panels:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert g["x"] + g["w"] <= WIDTH
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda f: f.stem)
def test_boards_use_the_provisioned_source_and_variables_they_have(file: Path) -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/metergate.yaml").read_text())["datasources"]
    assert source["jsonData"]["version"] == "Flux"
    board = read(file)
    used = [p["datasource"] for p in board["panels"]] + [t["datasource"] for p in board["panels"] for t in p["targets"]]
    assert {(d["type"], d["uid"]) for d in used} == {("influxdb", source["uid"])}
    variables = {v["name"] for v in board["templating"]["list"]}
    assert {name for _, text in queries(board) for name in re.findall(r"\$\{(\w+)\}", text)} <= variables
    assert all(f'bucket: "{source["jsonData"]["defaultBucket"]}"' in text for _, text in queries(board))
    assert {link["url"].removeprefix("/d/") for link in board["links"]} == {read(f)["uid"] for f in DASHBOARDS}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda f: f.stem)
def test_a_count_of_nothing_is_nought_and_a_series_without_a_field_has_a_name(file: Path) -> None:
    """Grafana names a series by `_field`, which grouping takes away; a count over no rows has no row."""
    for panel in read(file)["panels"]:
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] == "stat":
            assert defaults["noValue"] == "0"
        grouped = any(
            "group(" in t["query"] and "_field" not in t["query"].split("group(")[-1] for t in panel["targets"]
        )
        if panel["type"] == "timeseries" and grouped:
            assert defaults["displayName"]


def test_no_token_is_in_the_files() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/metergate.yaml").read_text())["datasources"]
    assert source["secureJsonData"] == {"token": "$__file{/run/influx-query-token}"}
