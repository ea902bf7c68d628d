"""`metergate verify verdicts`: a ledger recomputes bit for bit, whatever happened to it; tampering is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gateway
from gateway.ledger import readings
from tests.cli.support import Site, check, steady

WATER = """\
devices:
  - id: water-1
    kind: water
    rule_pack: oiml-r49
    parameters: {class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}
    channels: {volume: {unit: L, sigma: 0.1 %}}
certificates:
  - {id: w-1, device: water-1, channel: volume, performed_at: 2026-01-01, interval_months: 60,
     points: [{x: 0.025 m3/h, error: 0.2 %, U: 0.03 %, k: 2}, {x: 2.5 m3/h, error: 0.4 %, U: 0.03 %, k: 2}]}
"""
BACK_DATED = """\
certificates:
  - {id: "9-26", device: scale-07, channel: mass, performed_at: 2026-05-10, interval_months: 12,
     points: [{x: 5 kg, error: 1.0 g, U: 0.2 g, k: 2}, {x: 10 kg, error: 2.0 g, U: 0.2 g, k: 2}]}
"""


@contextmanager
def ledger(site: Site) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(site.folder / "var" / "ledger.sqlite", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def judged(site: Site) -> Site:
    """A scale with forty checks, some of them late, and a water meter."""
    site.write("water.yaml", WATER)
    site.do("apply", "devices.yaml", "certificates.yaml", "water.yaml")
    site.do("import", site.recording("odd.csv", steady(range(1, 41, 2))))
    site.do("import", site.recording("even.csv", steady(range(2, 41, 2))))
    rows = [
        {"time": f"2026-05-{d:02}T08:00:00Z", "device": "water-1", "channel": "volume", "value": 100.3 + d / 50,
         "unit": "L", "reference": 100, "reference_u": 0.02, "flow_m3h": 1.0, "temperature_C": 20.0}
        for d in range(1, 20)
    ]  # fmt: skip
    site.write("water.ndjson", "".join(json.dumps(r) + "\n" for r in rows))
    site.do("import", "water.ndjson")
    return site


def verify(site: Site, *arguments: str, code: int = 0) -> Any:
    return site.do("verify", "verdicts", *arguments, "--json", code=code).document()


def fields(document: Any) -> set[str]:
    return {d["field"] for d in document["differences"]}


def test_an_honest_ledger_recomputes(judged: Site) -> None:
    found = verify(judged)
    assert found["sound"]
    assert found["verdicts"] == 59
    assert found["superseded"] > 0, "late readings have superseded verdicts"
    assert found["differing"] == 0
    assert found["judged_by"] == {gateway.__version__: 59}
    assert "59 verdicts of 3 channels recomputed, 0 differ" in judged.do("verify", "verdicts").out


def test_one_device_and_a_stretch_of_time(judged: Site) -> None:
    assert verify(judged, "water-1")["verdicts"] == 19
    part = verify(judged, "scale-07", "--from", "2026-05-10", "--to", "2026-05-12T08:00:00+07:00")
    assert part["verdicts"] == 2
    wrong = judged.do("verify", "verdicts", "scale-7", code=2)
    assert "did you mean scale-07?" in wrong.err
    assert "write 2026-05-01" in judged.do("verify", "verdicts", "--from", "May", code=2).err


def test_every_byte_of_a_verdict_counts(judged: Site) -> None:
    with ledger(judged) as connection:
        row = connection.execute(
            "SELECT id, verdict, context FROM reading r WHERE time > 1779000000000000000 AND verdict IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM amendment a WHERE a.reading = r.id) LIMIT 1"
        ).fetchone()
        context = json.loads(connection.execute("SELECT document FROM context WHERE id = ?", row[2:]).fetchone()[0])
        layout = readings.layout(connection, context["layout"])
        whole = row[1]
        assert layout.fields is not None
        of_the_plan = layout.fields["epoch"]
        unproven = range(of_the_plan[1], of_the_plan[1] + of_the_plan[0].itemsize)
        rng = np.random.default_rng(7)
        places = rng.permutation([i for i in range(len(whole)) if i not in unproven])[:25].tolist()
        for place in places:
            damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
            connection.execute("UPDATE reading SET verdict = ? WHERE id = ?", (damaged, row[0]))
            found = verify(judged, code=1)
            assert found["differing"] == 1, place
            assert len(found["differences"]) == 1
        connection.execute("UPDATE reading SET verdict = ? WHERE id = ?", (whole, row[0]))
    assert verify(judged)["sound"]


def test_a_changed_superseded_verdict_breaks_the_name_its_successor_gives(judged: Site) -> None:
    with ledger(judged) as connection:
        reading, whole = connection.execute(
            "SELECT r.id, r.verdict FROM reading r JOIN amendment a ON a.reading = r.id WHERE a.version = 1 LIMIT 1"
        ).fetchone()
        damaged = bytes([whole[0] ^ 1]) + whole[1:]
        connection.execute("UPDATE reading SET verdict = ? WHERE id = ?", (damaged, reading))
    found = verify(judged, code=1)
    assert fields(found) == {"supersedes"}
    assert found["differing"] == 1


def test_a_chart_that_is_asked_for_later_recomputes_and_its_columns_count(judged: Site) -> None:
    judged.write("water.yaml", WATER.replace("sigma: 0.1 %", "drift: {cusum: {}, self_starting: {k: 0.5, h: 5}}"))
    judged.do("apply", "water.yaml")
    judged.do("import", judged.recording("more.csv", steady(range(41, 43))))
    found = verify(judged)
    assert (found["sound"], found["verdicts"]) == (True, 61)
    with ledger(judged) as connection:
        reading, whole = connection.execute(
            "SELECT reading, verdict FROM amendment ORDER BY LENGTH(verdict) DESC, reading DESC LIMIT 1"
        ).fetchone()
        damaged = whole[:250] + bytes([whole[250] ^ 1]) + whole[251:]
        connection.execute("UPDATE amendment SET verdict = ? WHERE reading = ?", (damaged, reading))
    assert {f.partition(".self_starting.")[0] for f in fields(verify(judged, code=1))} == {"detectors"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE reading SET value = value + 0.0001 WHERE id = 5", {"indication", "error", "margin"}),
        ("UPDATE reading SET reference = 5.001 WHERE id = 5", {"reference", "error", "residual"}),
        ("UPDATE reading SET reference_u = 0.0002 WHERE id = 5", {"reference_u", "U"}),
        ("UPDATE reading SET time = 1 WHERE id = 20", {"time"}),
        ("UPDATE moment SET time = 1 WHERE reading = 20", {"time", "baseline", "baseline_error"}),
        ("DELETE FROM moment WHERE reading = 20", {"time"}),
        ("UPDATE reading SET reference = NULL WHERE id = 5", {"verdict"}),
        ("UPDATE reading SET verdict = NULL WHERE id = 40", {"verdict"}),
        ("UPDATE reading SET verdict = x'00' WHERE id = 40", {"verdict"}),
        ("DELETE FROM amendment", {"detectors.ewma.statistic"}),
        ("UPDATE registry SET document = CAST(replace(document, '1.2 g', '1.3 g') AS BLOB) WHERE kind = 'certificate'",
         {"baseline_error", "residual", "z"}),
        (("UPDATE registry SET document = CAST(replace(document, '15 kg', '16 kg') AS BLOB)"
         " WHERE kind = 'device'"), set[str]()),
        (("UPDATE registry SET document = CAST(replace(document, '\"III\"', '\"II\"') AS BLOB)"
         " WHERE kind = 'device'"), {"mpe"}),
        ("UPDATE designed SET settings = replace(settings, '\"L\": ', '\"L\": 1')", {"settings",
         "detectors.shewhart.limit"}),
        ("UPDATE context SET document = replace(document, 'oiml-r76@2006', 'oiml-r76@2005')", {"rule_pack"}),
        ("UPDATE context SET document = replace(document, '\"simple\"', '\"guarded\"')", {"decision_rule"}),
        ("UPDATE context SET document = '{' || id", {"verdict"}),
    ],
)  # fmt: skip
def test_tampering_is_caught_and_named(judged: Site, change: str, named: set[str]) -> None:
    with ledger(judged) as connection:
        assert connection.execute(change).rowcount > 0
    found = verify(judged, code=1)
    assert not found["sound"]
    assert named <= fields(found), fields(found)
    assert found["differing"] > 0 or [p["device"] for p in found["pending"]] == ["scale-07"]
    assert "differ" in judged.do("verify", "verdicts", code=1).out


def test_what_is_no_number_is_refused_in_one_line(judged: Site) -> None:
    with ledger(judged) as connection:
        connection.execute("UPDATE reading SET value = 'much' WHERE id = 5")
    said = judged.do("verify", "verdicts", code=1).err
    assert said.startswith("readings of scale-07 mass cannot be read")
    assert said.count("\n") == 1
    with ledger(judged) as connection:
        connection.execute("UPDATE registry SET document = '{' WHERE kind = 'device'")
    assert judged.do("verify", "verdicts", code=1).err.startswith("the registry in the ledger cannot be read")


def test_a_back_dated_certificate_supersedes_and_rewrites_nothing(judged: Site) -> None:
    with ledger(judged) as connection:
        before = connection.execute("SELECT id, context, verdict FROM reading ORDER BY id").fetchall()
        amended = connection.execute("SELECT * FROM amendment ORDER BY reading, version").fetchall()
    judged.write("back.yaml", BACK_DATED)
    judged.do("apply", "back.yaml")
    found = verify(judged)
    with ledger(judged) as connection:
        assert connection.execute("SELECT id, context, verdict FROM reading ORDER BY id").fetchall() == before
        after = connection.execute("SELECT * FROM amendment ORDER BY reading, version").fetchall()
    assert set(amended) < set(after), "what stood in the ledger still does"
    assert found["superseded"] == len(after)


def test_a_changed_rule_pack_supersedes_and_rewrites_nothing(judged: Site) -> None:
    shipped = next(text for name, text in gateway_packs() if name == "oiml-r76.yaml")
    later = shipped.replace('version: "2006"', 'version: "2027"\neffective_from: 2026-05-20').replace("0.5 e", "0.4 e")
    with ledger(judged) as connection:
        before = connection.execute("SELECT id, context, verdict FROM reading ORDER BY id").fetchall()
    judged.write("config/rulepacks/mine.yaml", later)
    found = verify(judged, code=1)
    assert found["pending"] == [{"device": "scale-07", "channel": "mass", "since": "2026-05-19T17:00:00Z"}]
    assert {"rule_pack"} <= fields(found)
    assert "will judge it again and supersede" in judged.do("verify", "verdicts", code=1).err
    judged.do("import", "odd.csv")
    with ledger(judged) as connection:
        assert connection.execute("SELECT id, context, verdict FROM reading ORDER BY id").fetchall() == before
    assert verify(judged)["sound"]


def gateway_packs() -> list[tuple[str, str]]:
    from gateway.shipped import shipped_texts

    return shipped_texts("rulepacks")


def test_verdicts_of_another_software_are_told_apart(judged: Site) -> None:
    with ledger(judged) as connection:
        connection.execute(
            "UPDATE context SET document = replace(document, ?, '\"0.0.1\"')", (f'"{gateway.__version__}"',)
        )
        connection.execute("UPDATE reading SET verdict = NULL WHERE id = 40")
    found = verify(judged, code=1)
    assert set(found["judged_by"]) == {"0.0.1"}
    assert "were judged by Metergate 0.0.1" in judged.do("verify", "verdicts", code=1).err


def test_readings_beyond_the_horizon_stay_as_they_were_judged(judged: Site) -> None:
    site = judged
    site.do("import", site.recording("old.csv", [check(1, 5.0002, 900).replace("2026-05-01", "2026-03-05")]))
    assert verify(site)["sound"]
    devices = (site.folder / "devices.yaml").read_text()
    site.write("devices.yaml", devices.replace("class: III", "class: IIII"))
    site.do("apply", "devices.yaml")
    found = verify(site)
    assert found["verdicts"] == 60


STANDARD = """\
devices:
  - {id: std, kind: reference, channels: {mass: {unit: kg}}}
  - {id: s, kind: weighing, rule_pack: oiml-r76, parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g},
     channels: {mass: {unit: kg, sigma: 1.6 g, standard: std}}}
certificates:
  - {id: c1, device: std, channel: mass, performed_at: 2026-01-01, points: [{error: 0 g, U: 0.1 g, k: 2}]}
"""


DEVICE_T = """\
  - {id: t, kind: weighing, rule_pack: oiml-r76, parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g},
     channels: {mass: {unit: kg, sigma: 1.6 g}}}
"""


def without_u(time: str, value: float, reference: float, seq: int) -> dict[str, object]:
    return {"time": time, "device": "s", "channel": "mass", "value": value, "unit": "kg", "reference": reference,
            "seq": seq, "boot": "b"}  # fmt: skip


def imported(site: Site, name: str, *rows: dict[str, object]) -> None:
    site.write(name, "".join(json.dumps(r) + "\n" for r in rows))
    site.do("import", name)


def test_a_new_certificate_of_a_standard_supersedes_what_was_judged_with_it(site: Site) -> None:
    site.write("standard.yaml", STANDARD)
    site.do("apply", "standard.yaml")
    imported(site, "r.ndjson", *(without_u(f"2026-0{m}-15T08:00:00Z", 5.005, 5, m) for m in range(1, 7)))
    later = STANDARD[STANDARD.index("certificates") :].replace("c1", "c2").replace("-01-01", "-04-01")
    site.write("later.yaml", later.replace("U: 0.1 g", "U: 4 g"))
    said = site.do("apply", "later.yaml").out
    assert "s mass: 3 verdicts from 2026-03-31T17:00:00Z on are judged again" in said
    found = verify(site)
    assert found["sound"]
    assert found["superseded"] == 3


def test_a_standard_that_only_readings_name_supersedes_what_was_judged_with_it(site: Site) -> None:
    scales = STANDARD.replace(", standard: std}}}", "}}}").replace("certificates:", DEVICE_T + "certificates:")
    site.write("standard.yaml", scales)
    site.do("apply", "standard.yaml")
    rows = [without_u(f"2026-0{m}-15T08:00:00Z", 5.005, 5, m) for m in range(1, 7)]
    imported(site, "r.ndjson", *rows[:5], *({**r, "standard": "std", "seq": 20 + n} for n, r in enumerate(rows)))
    imported(site, "t.ndjson", *({**r, "device": "t"} for r in rows))
    later = STANDARD[STANDARD.index("certificates") :].replace("c1", "c2").replace("-01-01", "-04-01")
    site.write("later.yaml", later.replace("U: 0.1 g", "U: 4 g"))
    shown = site.do("apply", "later.yaml", "--dry-run", "--json").document()["superseded"]
    assert shown == [{"device": "s", "channel": "mass", "from": "2026-03-31T17:00:00Z", "verdicts": 3}]
    assert site.do("apply", "later.yaml", "--json").document()["superseded"] == shown
    found = verify(site)
    assert found["sound"]
    assert found["superseded"] == 3


def test_a_reading_beyond_the_horizon_is_judged_alone_though_others_came_with_it(site: Site) -> None:
    site.write("standard.yaml", STANDARD)
    site.do("apply", "standard.yaml")
    imported(site, "r.ndjson", without_u("2026-06-15T08:00:00Z", 5.005, 5, 1))
    zero, load = without_u("2026-02-15T08:00:00Z", 0.005, 0, 2), without_u("2026-02-15T08:01:00Z", 5.005, 5, 3)
    imported(site, "old.ndjson", zero, load)
    assert verify(site)["verdicts"] == 3


def test_a_negative_zero_is_a_zero_live_as_in_the_ledger(site: Site) -> None:
    site.write("standard.yaml", STANDARD)
    site.do("apply", "standard.yaml")
    site.write("zero.ndjson", json.dumps(without_u("2026-06-15T08:00:00Z", -0.0, 0, 1)) + "\n")
    site.do("import", "zero.ndjson")
    assert verify(site)["sound"]
