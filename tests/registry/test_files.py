from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.errors import Mistakes, WrongUse
from gateway.registry.build import build
from gateway.registry.certificates_csv import parse_certificates_csv
from gateway.registry.files import read_registry, read_rule_packs
from gateway.registry.reading_certificates import read_certificates
from gateway.registry.texts import parse_registry
from tests.registry.conftest import ZONE

CSV = """id,device,channel,performed_at,interval_months,laboratory,x,error,U,k,unit
3681-26,scale-07,mass,2026-03-02,12,"TĐC, Hưng Yên",5 kg,1.2,1.0,2,g
3681-26,scale-07,mass,2026-03-02,12,"TĐC, Hưng Yên",10 kg,2 g,1.2 g,2,g
"""


def test_a_row_is_a_point_and_the_rows_of_one_certificate_are_one() -> None:
    found = parse_certificates_csv(CSV, "c.csv")
    assert found.mistakes == ()
    (entry,) = found.certificates
    assert entry.spec.laboratory == "TĐC, Hưng Yên"
    assert [(str(p.x), str(p.error), str(p.U)) for p in entry.spec.points] == [
        ("5 kg", "1.2 g", "1.0 g"),
        ("10 kg", "2 g", "1.2 g"),
    ]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ('c,s,mass,2026-03-02,12,lab,"5,5 kg",1,1,2,g', "4: certificates[1].points[0].x: '5,5 kg' has a comma"),
        ("c,s,mass,2026-03-02,12,lab,1 400 kg,1,1,2,g", "4: certificates[1].points[0].x: '1 400 kg' has a thousands"),
        ("c,s,mass,2026-03-02,12,lab,5,5 kg,1,1,2,g", "4: has 12 cells for 11 columns; write decimal points"),
        ("c,s,mass,2026-03-02,12,lab,5 kg,1,,2,g", "4: certificates[1].points[0].U: is missing"),
        ("c,s,mass,02/03/2026,12,lab,5 kg,1,1,2,g", "4: certificates[1].performed_at: '02/03/2026' is not a date"),
        (
            "3681-26,scale-07,mass,2026-03-03,12,x,15 kg,1,1,2,g",
            "4: performed_at: 2026-03-03 contradicts 2026-03-02 in line 2",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(row: str, wanted: str) -> None:
    found = [str(m) for m in parse_certificates_csv(CSV + row + "\n", "c.csv").mistakes]
    assert any(m.startswith(f"c.csv:{wanted}") for m in found), found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "c.csv:1: is empty; the first line names the columns"),
        ("id;device;performed_at\n", "c.csv:1: the columns are separated by semicolons"),
        ("id,device,performed_at,ort\n", "c.csv:1: ort: unknown column"),
        ("id,device\n", "c.csv:1: performed_at: this column is missing"),
        ("id,id,device,performed_at\n", "c.csv:1: id: this column is there twice"),
        ('id,device,performed_at\n"a,b', "c.csv:2: not CSV"),
    ],
)
def test_a_header_that_is_none_is_refused(text: str, wanted: str) -> None:
    assert str(parse_certificates_csv(text, "c.csv").mistakes[0]).startswith(wanted)


def test_a_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("devices: [{id: scale-07, kind: weighing}]\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.csv").write_text(CSV, encoding="utf-8-sig")
    (tmp_path / "notes.txt").write_text("not ours")
    found = read_registry([tmp_path, tmp_path / "a.yaml"])
    assert (len(found.devices), len(found.certificates), found.mistakes) == (1, 1, ())


def test_a_file_that_is_not_utf8_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"devices:\n  - {id: d, name: C\xe2n}\n")
    assert [str(m) for m in read_registry([tmp_path / "a.yaml"]).mistakes] == [
        f"{tmp_path / 'a.yaml'}:2: is not UTF-8; save it as UTF-8"
    ]


@pytest.mark.parametrize("name", ["missing.yaml", "missing.xml", "x.pdf", "empty"])
def test_a_path_that_holds_no_registry_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    if name.startswith("x."):
        (tmp_path / name).write_text("<x/>")
    with pytest.raises(WrongUse):
        read_registry([tmp_path / name])


def test_certificates_are_told_without_a_registry(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "certificates:\n"
        "  - {id: c, device: d, channel: mass, performed_at: 2026-03-02, interval_months: 12, laboratory: TĐC,\n"
        "     points: [{x: 5 kg, error: 1.2 g, U: 1 g, k: 2}]}\n"
        "  - {id: r, device: d, channel: active_energy, performed_at: 2026-03-02, valid_to: 2027-03-02,\n"
        "     laboratory: TĐC, points: [{x: 10 A, correction: 0.2 %, U: 0.1 %, k: 2}]}\n"
    )
    both: dict[str, object] = {
        "schema": "metergate",
        "serial": None,
        "laboratory": "TĐC",
        "performed_at": "2026-03-01T17:00:00Z",
        "valid_to": "2027-03-01T17:00:00Z",
        "conformity": None,
        "signature": "none",
    }
    absolute = {"x": 5.0, "indication": 5.0012, "error": 0.0012, "U": 0.001, "unit": "kg"}
    relative = {"x": 10.0, "x_unit": "A", "indication": None, "error": -0.2, "U": 0.1, "unit": "%"}
    assert read_certificates(path, ZONE).reports == [
        both | {"id": "c", "points": [absolute | {"phase": "as_left", "k": 2.0}]},
        both | {"id": "r", "points": [relative | {"phase": "as_left", "k": 2.0}]},
    ]


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ("{x: 5 kg, error: 1 g, U: 1 g, k: 2}, {x: 5 A, error: 1 g, U: 1 g, k: 2}", "points[1].x: the units"),
        ("{x: 5 kg, error: 1 g, U: 1 g, k: 2}, {x: 6 kg, error: 1 %, U: 1 %, k: 2}", "points[1].error: the units"),
        ("{x: 5 kg, error: 1 g, U: 1 %, k: 2}", "points[0].U: the units"),
        (", ".join(f"{{x: {x} kg, error: 1 g, U: 1 g, k: 2}}" for x in (5, 50, 15)), "points[2].x: 15 kg is out of"),
        ("{x: 1 400 kg, error: 1 g, U: 1 g, k: 2}", "points[0].x: '1 400 kg' has a thousands separator"),
        ("{x: 5 kg, correction: 1 g, error: -1 g, U: 1 g, k: 2}", "points[0]: needs exactly one of error and"),
    ],
)
def test_points_that_do_not_belong_together_are_refused(tmp_path: Path, points: str, wanted: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        f"certificates:\n  - {{id: c, device: d, channel: m, performed_at: 2026-03-02, points: [{points}]}}\n"
    )
    with pytest.raises(Mistakes) as caught:
        read_certificates(path, ZONE)
    assert f"c.yaml:2: certificates[0].{wanted}" in str(caught.value)


@pytest.mark.parametrize("valid_to", ["2026-03-01", "2026-02-30"])
def test_a_certificate_that_ends_before_it_begins_is_refused(tmp_path: Path, valid_to: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f"id,device,performed_at,valid_to\nc,d,2026-03-02,{valid_to}\n")
    with pytest.raises(Mistakes, match=r"c\.csv:2: certificates\[0\]\.valid_to"):
        read_certificates(path, ZONE)


def test_a_certificate_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "certificates:\n  - {id: c, device: d, channel: m, performed_at: 2026-03-02, points: [{x: 5 kg}]}\n"
    )
    with pytest.raises(Mistakes, match=r"c\.yaml:2: certificates\[0\]\.points\[0\]\.U: is missing"):
        read_certificates(path, ZONE)


def test_the_examples_beside_the_devices_are_sound_and_say_the_same() -> None:
    folder = Path(__file__).resolve().parents[2] / "config"
    blocks = dict(re.findall(r"```(yaml|csv)\n(.*?)```", (folder / "devices" / "README.md").read_text(), re.DOTALL))
    packs = read_rule_packs(folder / "rulepacks", ZONE)
    built = build(parse_registry(blocks["yaml"], "example.yaml"), zone=ZONE, packs=packs)
    table = parse_certificates_csv(blocks["csv"], "example.csv")
    again = build(
        table, zone=ZONE, packs=packs, known=parse_registry(blocks["yaml"].split("certificates:")[0], "d.yaml")
    )
    assert built.certificates == again.certificates
