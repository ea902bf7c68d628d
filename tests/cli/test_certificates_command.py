"""`metergate certificates` and DCC XML through `apply` (CONTRACTS §2, §5)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.support import CERTIFICATES, DEVICES, Site, steady
from tests.registry.dccs import ERROR, INDICATION, REFERENCE, TABLE, VERSIONS, dcc
from tests.registry.signing import party, signed

WITH_SERIAL = DEVICES.replace("kind: weighing", 'kind: weighing\n    serial: "A1234"')
KG = (
    replace(REFERENCE, alternatives=[("5 10", r"\kilogram")]),
    replace(INDICATION, alternatives=[("5.0012 10.0020", r"\kilogram")]),
    replace(ERROR, alternatives=[("1.2 2.0", r"\gram")], U="0.2"),
)


def certificates(site: Site) -> list[Any]:
    return list(site.do("certificates", "list", "--json").document())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dcc_is_read_as_one_document(site: Site, version: str) -> None:
    site.write("c.xml", dcc(version, KG, as_found=KG))
    found = site.do("certificates", "read", "c.xml", "--json").document()
    assert list(found) == [
        "schema", "id", "serial", "laboratory", "performed_at", "valid_to", "points", "conformity", "signature",
    ]  # fmt: skip
    assert (found["schema"], found["id"], found["serial"]) == (version, "3681-26 (YB)", "A1234")
    assert found["performed_at"] == "2026-03-01T17:00:00Z"
    assert found["valid_to"] == (None if version < "3" else "2027-03-01T17:00:00Z")
    assert found["signature"] == "none"
    assert [p["phase"] for p in found["points"]] == ["as_found", "as_found", "as_left", "as_left"]
    assert found["points"][2] == {
        "phase": "as_left", "x": 5.0, "indication": 5.0012, "error": 0.0012, "U": 0.0002, "k": 2.0,
        "unit": "kg",
    }  # fmt: skip
    assert {tuple(p) for p in found["points"]} == {("phase", "x", "indication", "error", "U", "k", "unit")}


@pytest.mark.parametrize("due", ["2027-03-02", ""])
def test_as_found_and_as_left_of_one_number_are_one_document(site: Site, due: str) -> None:
    row = "{},s1,mass,{},2026-03-02,{},{} kg,1 g,1 g,2\n"
    rows = [("c1", "as_left", "2027-03-02", 5), ("c1", "as_left", "2027-03-02", 9), ("c1", "as_found", due, 5)]
    header = "id,device,channel,phase,performed_at,valid_to,x,error,U,k\n"
    site.write("c.csv", header + "".join(row.format(*r) for r in rows))
    found = site.do("certificates", "read", "c.csv", "--json").document()
    assert [(p["phase"], p["x"]) for p in found["points"]] == [("as_found", 5), ("as_left", 5), ("as_left", 9)]
    assert found["valid_to"] == "2027-03-01T17:00:00Z"
    site.write("c.csv", header + "".join(row.format(*r) for r in [*rows[:2], ("c1", "as_found", "2028-01-01", 5)]))
    assert len(site.do("certificates", "read", "c.csv", "--json").document()) == 2, "they contradict each other"


def test_a_period_dates_the_next_calibration(site: Site) -> None:
    site.write("c.xml", dcc(end="2026-03-31", recalibration="<dcc:period>P1Y6M</dcc:period>"))
    assert site.do("certificates", "read", "c.xml", "--json").document()["valid_to"] == "2027-09-29T17:00:00Z"


def test_a_refused_file_is_exit_one_with_line_and_element(site: Site) -> None:
    xml = dcc().replace("<dcc:list>", "<dcc:list><dcc:lost/>")
    site.write("c.xml", xml)
    refused = site.do("certificates", "read", "c.xml", "--json", code=1)
    line = xml[: xml.index("<dcc:lost")].count("\n") + 1
    assert refused.err.startswith(f"c.xml:{line}: ")
    assert "dcc:lost: does not belong" in refused.err
    assert refused.out == ""


def test_a_file_without_ref_types_says_its_columns_and_remembers_them(site: Site) -> None:
    site.write("c.xml", dcc(table=[replace(q, ref_type=None) for q in TABLE]))
    told = site.do("certificates", "read", "c.xml", "--json")
    assert told.document()["points"] == []
    assert "#1 'Reference value', #2 'Indication', #3 'Error'" in told.err
    columns = ("--column", "reference=#1", "--column", "indication=Indication", "--column", "error=error")
    said = site.do("certificates", "read", "c.xml", "--json", *columns, "--remember")
    assert [p["error"] for p in said.document()["points"]] == [0.4, 1.2, 2.0]
    again = site.do("certificates", "read", "c.xml", "--json")
    assert again.document() == said.document()
    other = dcc(table=[replace(q, ref_type=None) for q in TABLE], laboratory="Another")
    site.write("d.xml", other)
    assert site.do("certificates", "read", "d.xml", "--json").document()["points"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("--column", "errors=Error"),
        ("--column", "error"),
        ("--column", "error=Error"),
        ("--column", "reference=#1", "--column", "error=#2", "--column", "correction=#3"),
        ("--sign", "plus"),
        ("--trust", "missing.pem"),
        ("--trust", "devices.yaml"),
    ],
)
def test_what_is_said_wrongly_of_a_dcc_is_exit_two(site: Site, wrong: tuple[str, ...]) -> None:
    site.write("c.xml", dcc())
    assert site.do("certificates", "read", "c.xml", *wrong, code=2).err.count("\n") == 1


def test_a_dcc_is_applied_to_the_device_of_its_serial_number(site: Site) -> None:
    site.write("devices.yaml", WITH_SERIAL)
    site.do("apply", "devices.yaml")
    site.write("c.xml", dcc(table=KG, as_found=KG))
    assert len(site.do("apply", "c.xml", "--json").document()["changes"]) == 2
    assert {c["action"] for c in site.do("apply", "c.xml", "--json").document()["changes"]} == {"unchanged"}
    assert [(c["id"], c["phase"], c["device"], c["channel"], c["points"]) for c in certificates(site)] == [
        ("3681-26-yb", "as_found", "scale-07", "mass", 2),
        ("3681-26-yb", "as_left", "scale-07", "mass", 2),
    ]
    site.write("c.xml", dcc(table=(KG[0], replace(KG[2], alternatives=[("1.3 2.0", r"\gram")]))))
    assert "never changes" in site.do("apply", "c.xml", code=1).err


def test_a_dcc_and_its_yaml_judge_alike(site: Site) -> None:
    site.write("devices.yaml", WITH_SERIAL)
    site.do("apply", "devices.yaml", "certificates.yaml")
    site.write("c.xml", dcc(table=KG, number="3681-26", recalibration="<dcc:period>P1Y</dcc:period>"))
    changes = site.do("apply", "c.xml", "--dry-run", "--id", "3681-26-x", "--json").document()["changes"]
    assert [c["action"] for c in changes] == ["added"]
    read = [site.do("certificates", "read", f, "--json").document()["points"] for f in ("c.xml", "certificates.yaml")]
    assert read[0] == read[1]


def test_what_does_not_settle_the_device_is_refused_with_the_option_that_does(site: Site) -> None:
    site.do("apply", "devices.yaml")
    site.write("c.xml", dcc(table=KG))
    assert "(A1234); say --device" in site.do("apply", "c.xml", code=2).err
    site.do("apply", "c.xml", "--device", "scale-07", "--remember")
    assert [c["device"] for c in certificates(site)] == ["scale-07"]
    site.write("d.xml", dcc(table=KG, number="3682-26", end="2026-04-02"))
    site.do("apply", "d.xml")
    assert [c["device"] for c in certificates(site)] == ["scale-07", "scale-07"]
    assert "one DCC XML file" in site.do("apply", "c.xml", "d.xml", "--device", "scale-07", code=2).err
    site.write("e.xml", dcc(table=TABLE, number="3683-26").replace(r"\gram", r"\kelvin"))
    assert "fit (mass); say --channel" in site.do("apply", "e.xml", "--device", "scale-07", code=2).err


RELATIVE = """\
devices:
  - id: meter-09
    kind: water
    serial: A1234
    rule_pack: none
    channels: {volume: {unit: L, type: run}}
"""


def test_a_flow_is_the_axis_of_a_water_meter(site: Site) -> None:
    site.write("devices.yaml", RELATIVE)
    site.do("apply", "devices.yaml")
    flow = replace(REFERENCE, name="Q", ref_type=None, alternatives=[("2.5 0.025", r"\metre\tothe{3}\per\hour")])
    litres = replace(REFERENCE, alternatives=[("100", r"\litre")])
    error = replace(ERROR, alternatives=[("0.4 -1.2", r"\litre")], U="0.1")
    site.write("c.xml", dcc(table=(flow, litres, error)))
    site.do("apply", "c.xml")
    site.write(
        "same.csv",
        "id,device,channel,performed_at,valid_to,laboratory,x,error,U,k\n"
        "3681-26-yb,meter-09,volume,2026-03-02,2027-03-02,Trung tâm Kỹ thuật TĐC,2.5 m³/h,0.4 %,0.1 %,2\n"
        "3681-26-yb,meter-09,volume,2026-03-02,2027-03-02,Trung tâm Kỹ thuật TĐC,0.025 m³/h,-1.2 %,0.1 %,2\n",
    )
    assert site.do("apply", "same.csv", "--json").document()["changes"][0]["action"] == "unchanged"
    second = replace(flow, name="Q2", alternatives=[("5 0.05", r"\metre\tothe{3}\per\hour")])
    site.write("d.xml", dcc(table=(flow, second, litres, error), number="two"))
    assert "--column x=NAME" in site.do("apply", "d.xml", code=2).err
    site.do("apply", "d.xml", "--column", "x=Q2", "--dry-run")


BATCH = """\
id,device,channel,performed_at,x,error,U,k
good-1,scale-07,mass,2026-03-02,5 kg,1 g,0.2 g,2
bad-1,scale-07,mass,2026-03-02,1 400 kg,1 g,0.2 g,2
bad-2,scale-07,mass,2026-02-30,5 kg,1 g,0.2 g,2
bad-3,scale-07,mass,2026-03-02,5 kg,1 g,,2
bad-4,scale-07,mass,2026-03-02,5 kg,1 kWh,0.2 g,2
bad-5,scale-99,mass,2026-03-02,5 kg,1 g,0.2 g,2
good-2,scale-07,mass,2026-03-03,5 kg,1 g,0.2 g,2
"""


def test_the_rest_of_a_batch_is_unaffected_only_if_asked(site: Site) -> None:
    site.do("apply", "devices.yaml")
    site.write("batch.csv", BATCH)
    site.write("good.xml", dcc(table=KG, serial="scale-07"))
    site.write("bad.xml", dcc(table=KG, serial="scale-07", number="9").replace(">0.2<", "><"))
    batch = ("batch.csv", "good.xml", "bad.xml")
    refused = site.do("apply", *batch, code=2)
    assert certificates(site) == []
    for line in (3, 4, 5, 6, 7):
        assert f"batch.csv:{line}: " in refused.err
    kept = site.do("apply", *batch, "--keep-going", "--json", code=1)
    assert [c["id"] for c in kept.document()["changes"]] == [
        "good-1 (as_left)", "good-2 (as_left)", "3681-26-yb (as_left)",
    ]  # fmt: skip
    assert {(r["file"], r["line"]) for r in kept.document()["refused"] if r["file"] == "batch.csv"} == {
        ("batch.csv", line) for line in (3, 4, 5, 6, 7)
    }
    assert "bad.xml:" in kept.err
    assert len(certificates(site)) == 3
    assert (
        site.do("apply", "batch.csv", "--keep-going", "--json", code=1).document()["changes"][0]["action"]
        == "unchanged"
    )


def test_a_broken_device_takes_its_certificates_along(site: Site) -> None:
    site.write("devices.yaml", DEVICES.replace("sigma: 1.6 g", "sigma: 1.6 kWh"))
    kept = site.do("apply", "devices.yaml", "certificates.yaml", "--keep-going", "--json", code=1).document()
    assert [c["id"] for c in kept["changes"]] == ["meter-01"]
    assert {r["key"] for r in kept["refused"]} == {"devices[0].channels.mass.sigma", "certificates[0].device"}
    assert certificates(site) == []


def test_a_contradiction_is_refused_and_the_rest_goes_on(site: Site) -> None:
    site.apply()
    site.write("batch.csv", BATCH.splitlines()[0] + "\n3681-26,scale-07,mass,2026-03-02,5 kg,9 g,1 g,2\n"
               "new,scale-07,mass,2026-03-02,5 kg,1 g,1 g,2\n")  # fmt: skip
    kept = site.do("apply", "batch.csv", "--keep-going", "--json", code=1).document()
    assert [c["id"] for c in kept["changes"]] == ["new (as_left)"]
    assert kept["refused"][0]["line"] == 2


def test_as_found_is_compared_with_what_was_left_before(site: Site) -> None:
    site.apply()
    header = BATCH.splitlines()[0].replace("device", "phase,device")
    site.write(
        "second.csv",
        f"{header}\n4001,as_found,scale-07,mass,2026-09-02,5 kg,1.3 g,0.2 g,2\n"
        "4001,as_found,scale-07,mass,2026-09-02,10 kg,4 g,0.2 g,2\n"
        "4001,as_left,scale-07,mass,2026-09-02,10 kg,0 g,0.2 g,2\n"
        "4002,as_found,scale-07,mass,2026-10-02,10 kg,0.1 g,0.2 g,2\n",
    )
    site.write(
        "events.yaml", "events: [{device: scale-07, time: 2026-09-10T08:00:00+07:00, kind: repair, note: cell}]\n"
    )
    site.do("apply", "second.csv", "events.yaml")
    first, second = site.do("certificates", "compare", "--json").document()
    assert (first["before"], first["before_phase"], first["id"], first["days"]) == ("3681-26", "as_left", "4001", 184.0)
    assert [(p["x"], round(p["drift"], 9), p["significant"]) for p in first["points"]] == [
        (5.0, 0.0001, False), (10.0, 0.002, True),
    ]  # fmt: skip
    assert first["en"] == pytest.approx(2 / (0.2 * 2**0.5))
    assert first["interrupted_by"] == []
    assert [e["kind"] for e in second["interrupted_by"]] == ["repair"]
    listed = {(c["id"], c["phase"]): c["en_to_previous"] for c in certificates(site)}
    assert listed["3681-26", "as_left"] is None
    assert listed["4001", "as_left"] is None
    assert listed["4001", "as_found"]["en"] == first["en"]
    shown = site.do("certificates", "compare", "--device", "scale-07").out
    assert "drifted" in shown
    assert "agrees (after repair)" in shown
    assert site.do("certificates", "compare", "--device", "meter-01", "--json").document() == []
    unknown = site.do("certificates", "compare", "--device", "meter-1", code=2)
    assert "no device meter-1" in unknown.err


def test_a_signature_is_checked_and_an_invalid_one_is_exit_one(site: Site) -> None:
    root = party("Root", ca=True)
    lab = party("Lab", root)
    (site.folder / "root.pem").write_bytes(root.pem)
    raw = signed(dcc(table=KG), lab)
    (site.folder / "c.xml").write_bytes(raw)
    (site.folder / "forged.xml").write_bytes(raw.replace(b"10.0020", b"10.0021"))
    alone = site.do("certificates", "read", "c.xml", "--json")
    assert (alone.document()["signature"], "--trust" in alone.err) == ("unverified", True)
    trusted = site.do("certificates", "read", "c.xml", "--trust", "root.pem", "--json")
    assert (trusted.document()["signature"], trusted.err) == ("verified", "")
    forged = site.do("certificates", "read", "forged.xml", "--trust", "root.pem", "--json", code=1)
    assert forged.document()["signature"] == "invalid"
    assert forged.err.startswith("forged.xml:")
    assert "ds:Signature" in forged.err
    site.do("apply", "devices.yaml")
    assert "ds:Signature" in site.do("apply", "forged.xml", "--device", "scale-07", code=2).err
    site.do("apply", "c.xml", "--device", "scale-07")


def test_a_replay_reads_a_dcc_beside_the_devices(site: Site) -> None:
    site.write("registry/devices.yaml", WITH_SERIAL)
    site.write("registry/c.xml", dcc(table=[replace(q, ref_type=None) for q in KG]))
    recording = site.recording("r.csv", steady(range(1, 5)))
    command = ("replay", recording, "--registry", "registry", "--out", "out")
    assert "--column" in site.do(*command, code=2).err
    columns = ("--column", "reference=#1", "--column", "indication=#2", "--column", "error=#3")
    site.do("certificates", "read", "registry/c.xml", *columns, "--remember")
    site.do(*command)
    verdicts = [json.loads(line) for line in site.files("out")["verdicts.ndjson"].splitlines()]
    assert {v["baseline_error"] for v in verdicts} == {0.0012}


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ("id,device,channel,performed_at,x,error,U,k", ["whole"]),
        ("x,id,device,channel,performed_at,error,U,k", []),
    ],
)
def test_a_certificate_that_lost_a_row_is_never_half_applied(site: Site, columns: str, kept: list[str]) -> None:
    site.do("apply", "devices.yaml")
    names = columns.split(",")
    common = {
        "device": "scale-07",
        "channel": "mass",
        "performed_at": "2026-03-02",
        "error": "1 g",
        "U": "1 g",
        "k": "2",
    }
    rows = [("torn", "5 kg"), ("torn", "10,5 kg"), ("whole", "5 kg")]
    lines = [",".join((common | {"id": i, "x": x})[name] for name in names) for i, x in rows]
    site.write("batch.csv", "\n".join([columns, *lines, ""]))
    refused = site.do("apply", "batch.csv", "--keep-going", "--json", code=1).document()
    assert [c["id"] for c in certificates(site)] == kept
    assert refused["refused"][0]["line"] == 3


def test_a_certificate_whose_rows_contradict_each_other_is_never_half_applied(site: Site) -> None:
    site.do("apply", "devices.yaml")
    site.write(
        "batch.csv", f"{BATCH.splitlines()[0]}\na,scale-07,mass,2026-03-02,5 kg,1 g,1 g,2\n"
        "a,scale-07,mass,2026-03-03,6 kg,1 g,1 g,2\nb,scale-07,mass,2026-03-02,5 kg,1 g,1 g,2\n",
    )  # fmt: skip
    site.do("apply", "batch.csv", "--keep-going", code=1)
    assert [c["id"] for c in certificates(site)] == ["b"]
    site.write("twice.yaml", CERTIFICATES.replace("kind: calibration", "kind: calibration, kind: verification"))
    site.do("apply", "twice.yaml", "--keep-going", code=1)
    assert [c["id"] for c in certificates(site)] == ["b"]


ONE_CONDITION = "{id: c, device: scale-07, channel: mass, performed_at: 2026-03-02, points: [%s, %s]}"


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        ("{x: 5 kg, error: 2 g, U: 1 g, k: 2}", "points[1].x: is the x of points[0] again"),
        ("{x: 5000 g, error: 2 g, U: 1 g, k: 2}", "points[1].x: is the x of points[0] again"),
        ("{error: 2 g, U: 1 g, k: 2}", "points[1].x: is missing; only a single point"),
    ],
)
def test_what_apply_refuses_of_points_read_refuses_too(site: Site, second: str, wanted: str) -> None:
    text = ONE_CONDITION % ("{x: 5 kg, error: 1 g, U: 1 g, k: 2}", second)
    site.write("c.yaml", f"certificates: [{text}]")
    assert wanted in site.do("certificates", "read", "c.yaml", code=1).err
    assert wanted in site.do("apply", "devices.yaml", "c.yaml", code=2).err


def test_a_dcc_may_say_what_no_baseline_can_be_and_that_is_told(site: Site) -> None:
    site.apply()
    loop = [replace(REFERENCE, alternatives=[("1000 5000 1000", r"\gram")]),
            replace(ERROR, alternatives=[("0.4 1.2 0.5", r"\gram")])]  # fmt: skip
    site.write("loop.xml", dcc(table=loop, number="loop"))
    site.write(
        "nan.xml", dcc(table=[REFERENCE, replace(ERROR, alternatives=[("NaN 1.2 2.0", r"\gram")])], number="nan")
    )
    for name, words in (("loop.xml", "1000 g is there again"), ("nan.xml", "NaN")):
        read = site.do("certificates", "read", name, "--json")
        assert words in read.err
        assert read.err.count("\n") == 1
        assert len(read.document()["points"]) == 3
        site.do("apply", name, "--device", "scale-07", "--channel", "mass", code=2)


def test_a_calibration_that_has_not_come_yet_is_refused(site: Site) -> None:
    xml = dcc(begin="2099-01-01", end="2099-01-02", recalibration=None)
    site.write("c.xml", xml)
    site.write("c.yaml", "certificates: [{id: c, device: scale-07, performed_at: 2099-01-02}]")
    line = xml[: xml.index("endPerformanceDate")].count("\n") + 1
    refused = site.do("certificates", "read", "c.xml", code=1).err
    assert refused.startswith(f"c.xml:{line}: ")
    assert "endPerformanceDate: 2099-01-02 has not come yet" in refused
    assert "has not come yet" in site.do("certificates", "read", "c.yaml", code=1).err
    site.apply()
    assert f"c.xml:{line}: " in site.do("apply", "c.xml", "--device", "scale-07", code=2).err
