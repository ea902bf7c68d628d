"""Rule packs as files: strict reading with places, parameters checked, the version in force by date."""

from __future__ import annotations

from contextlib import suppress
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Mistakes
from gateway.metrology.instants import parse_date
from gateway.metrology.rulepacks import RulePack, catalogue, parse_rule_pack
from gateway.shipped import shipped_texts

HCM = ZoneInfo("Asia/Ho_Chi_Minh")
SHIPPED = shipped_texts("rulepacks")
PACKS = catalogue(SHIPPED)
SMALL = """\
id: shop
version: "1"
title: Shop scales
source: made for this test
status: verified
applies_to: mass
argument: {symbol: load, of: reference}
parameters:
  class: {values: [a, b]}
  e: {dimension: mass}
in_service: {factor: 2}
limits:
  - {at: "[0, 500 e]", mpe: {a: 0.5 e, b: 0.5 e}}
  - {class: b, at: "(500 e, inf)", mpe: 0.1 %}
"""


def pack(name: str) -> RulePack:
    found = PACKS.get(name, 0)
    assert found is not None
    return found


def test_the_shipped_packs_are_those_of_the_contract() -> None:
    contract = {"iec-62053-21", "oiml-r117", "oiml-r137", "oiml-r46", "oiml-r49", "oiml-r76"}
    assert set(PACKS.ids) == contract | {"dlvn-10", "iec-62053-22", "water-abcd"}
    for found in PACKS:
        assert found.source
        assert found.reference == f"{found.id}@{found.version}"
        assert len(found.digest) == 16
        assert found.file in {f"{found.id}.yaml", f"{found.id}-{found.version}.yaml"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("oiml-r76", {"class": "III", "max": "15 kg", "e": "5 g", "d": "5 g"}),
        ("oiml-r49", {"class": "2", "Q3": "2.5 m³/h", "R": "R160", "temperature_class": "T30/90"}),
        ("iec-62053-21", {"class": "1.0", "Ib": "5 A", "Imax": "60 A", "connection": "direct"}),
        ("iec-62053-21", {"class": "2", "In": "5000 mA", "Imax": "6 A", "connection": "CT"}),
        ("oiml-r46", {"class": "B", "Ist": "20 mA", "Imin": "0.25 A", "Itr": "0.5 A", "Imax": "60 A"}),
        ("oiml-r137", {"class": "1.5", "Qmin": "40 L/h", "Qt": "0.6 m3/h", "Qmax": "6 m3/h"}),
        ("oiml-r117", {"class": "1", "MMQ": "5 L"}),
        ("iec-62053-22", {"class": "0.2S", "In": "5 A", "Imax": "6 A", "connection": "ct"}),
        ("water-abcd", {"class": "B", "Qn": "1500 L/h"}),
        ("dlvn-10", {}),
    ],
)
def test_parameters_as_people_write_them_are_taken(name: str, parameters: dict[str, str]) -> None:
    assert pack(name).validate(parameters) == []
    for key in parameters:
        without = {k: v for k, v in parameters.items() if k != key}
        assert any(m.startswith(f"{key}: is missing") or key == "connection" for m in pack(name).validate(without))
        assert pack(name).validate(without)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("oiml-r76", {"Class": "III"}, "Class: is unknown; oiml-r76 takes class, max, e, d"),
        ("oiml-r76", {"class": "V"}, "class: 'V' is not one of I, II, III, IIII"),
        ("oiml-r76", {"e": "5"}, "e: '5' has no unit; write a number and a unit, such as 5 g"),
        ("oiml-r76", {"e": "5 L"}, "e: '5 L' is volume, not mass"),
        ("oiml-r76", {"e": "5 KG"}, "e: unit 'KG' is not known; write kg (upper and lower case matter)"),
        ("oiml-r76", {"e": "0 g"}, "e: '0 g' is not positive"),
        ("oiml-r76", {"e": "-5 g"}, "e: '-5 g' is not positive"),
        ("oiml-r76", {"max": "4 g"}, "e: 5 g is more than max 4 g"),
        ("oiml-r76", {"e": "1 g"}, "d: 5 g is more than e 1 g"),
    ],
)
def test_what_is_wrong_with_parameters_is_said(name: str, change: dict[str, str], message: str) -> None:
    good = {"class": "III", "max": "15 kg", "e": "5 g", "d": "5 g"}
    assert message in pack(name).validate({**good, **change})


def test_either_basic_or_rated_current_belongs_to_the_connection() -> None:
    both = {"class": "1", "Ib": "5 A", "In": "5 A", "Imax": "60 A", "connection": "direct"}
    assert pack("iec-62053-21").validate(both) == ["In: does not belong to connection direct"]
    wrong = {"class": "1", "Ib": "5 A", "Imax": "60 A", "connection": "ct"}
    assert sorted(pack("iec-62053-21").validate(wrong)) == ["Ib: does not belong to connection ct", "In: is missing"]
    unnamed = {"class": "1", "Ib": "5 A", "Imax": "60 A"}
    assert pack("iec-62053-21").validate(unnamed) == ["connection: is missing"]


def test_a_ratio_is_a_plain_number() -> None:
    water = {"class": "2", "Q3": "2.5 m3/h", "R": "160", "temperature_class": "T30"}
    for text in ("R", "0", "-160", "1e5000", "nan", "160 m3/h", "1_60"):
        assert pack("oiml-r49").validate({**water, "R": text}), text


def test_limits_of_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"oiml-r76@2006: max: is missing; e: is missing; d: is missing"):
        pack("oiml-r76").limits({"class": "III"}, in_service=True, unit="kg", error="absolute")


def test_a_small_pack_is_read() -> None:
    found = parse_rule_pack(SMALL, "shop.yaml")
    limits = found.limits({"class": "b", "e": "1 g"}, in_service=True, unit="g", error="absolute")
    assert limits is not None
    assert [(float(b.mpe), b.relative, b.at.high) for b in limits.bands] == [
        (1.0, False, 500.0),
        (0.2, True, float("inf")),
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("status: verified", "status: certain", "shop.yaml:5: status: 'certain' is not one of unverified, verified"),
        ("status: verified", "stat: verified", "shop.yaml:5: stat: is an unknown key"),
        ("status: verified\n", "", "shop.yaml:1: status: is missing"),
        ("title: Shop scales", "id: again", "shop.yaml:3: id: is given twice"),
        ("0.1 %", "0.1 foo", "shop.yaml:14: limits[1].mpe: 'foo' is neither a unit nor one of e, load"),
        ("0.1 %", "0.1 L", "shop.yaml:14: limits[1].mpe: is neither a share of the reference nor mass"),
        ("(500 e, inf)", "(500 L, inf)", "shop.yaml:14: limits[1].at: has an edge that is not mass"),
        ("(500 e, inf)", "500 e", "shop.yaml:14: limits[1].at: '500 e' is not an interval such as (500 e, 2000 e]"),
        ("class: b", "class: c", "shop.yaml:14: limits[1].class: is not among a, b"),
        ("b: 0.5 e", "c: 0.5 e", "shop.yaml:13: limits[0].mpe: has one number for each class: a, b"),
        ("{a: 0.5 e, b: 0.5 e}", "[0.5 e]", "shop.yaml:13: limits[0].mpe: is a text"),
        ("factor: 2", "factor: 2 e", "shop.yaml:11: in_service.factor: is not a ratio"),
        ("e: {dimension: mass}", "e: {dimension: weight}", "shop.yaml:10: parameters.e.dimension: 'weight' is"),
        ("of: reference", "of: weight", "shop.yaml:7: argument.of: 'weight' is not one of current, flow, reference"),
        ('version: "1"', 'version: "1 2"', "shop.yaml:2: version: '1 2' is not a name of this kind"),
        ("limits:", "limits: *e", "shop.yaml:12: has an alias (*)"),
        ("limits:", "effective_from: 2026-13-01\nlimits:", "shop.yaml:12: effective_from: there is no day 2026-13-01"),
        ("limits:", "limits: [", "is not YAML"),
        ("0.1 %", "0.1 % / 0", "shop.yaml:14: limits[1].mpe: '0.1 % / 0' divides by zero"),
        ("0.1 %", "0 %", "shop.yaml:14: limits[1].mpe: is zero"),
        ("(500 e, inf)", "(600 e, inf)",
         "shop.yaml:14: limits[1].at: begins where no other limit ends: there is a gap or an overlap before it"),
        ("(500 e, inf)", "(400 e, inf)", "shop.yaml:14: limits[1].at: begins where no other limit ends"),
        ("(500 e, inf)", "[500 e, inf)", "limits[1].at: begins at an edge that belongs to both limits"),
        ("[0, 500 e]", "[0, 500 e)", "shop.yaml:14: limits[1].at: begins at an edge that belongs to neither limit"),
        ("(500 e, inf)", "[0, inf)", "limits[1].at: begins where another limit begins under the same conditions"),
        ("(500 e, inf)", "(500 e, 300 e]", "shop.yaml:14: limits[1].at: ends where it begins, or before"),
        ("0.1 %", "0.09 %", "limits[1].at: allows a larger amount a smaller error than the limit before it"),
        ("e: {dimension: mass}", "e: {dimension: mass}\n  f: {dimension: mass}\nascending: [e, g]", "'g' is not a"),
        ("limits:", "points: [{rule: same_sign, at: '[0, 1 e]'}]\nlimits:", "shop.yaml:12: points[0]: has one of"),
        ("limits:", "points: [{rule: mean, at: '[0, 1 e]'}]\nlimits:", "points[0].rule: 'mean' is not one of"),
        ("limits:", "points: [{rule: weighted_mean, at: '[0, 1 e]'}]\nlimits:", "points[0].full: is missing"),
        ("limits:", "points: [{rule: same_sign, at: '[0, 1 e]', some: 2}]\nlimits:", "some: is not a share between"),
        ("limits:", "points: [{rule: same_sign, at: '[0, 1 L]', some: 1 / 2}]\nlimits:", "has an edge"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_place(old: str, new: str, place: str) -> None:
    assert old in SMALL
    with pytest.raises(Mistakes) as found:
        parse_rule_pack(SMALL.replace(old, new, 1), "shop.yaml")
    assert place in str(found.value)


def test_all_mistakes_of_all_files_come_together() -> None:
    with pytest.raises(Mistakes) as found:
        catalogue([("a.yaml", SMALL.replace("verified", "x")), ("b.yaml", "- 1"), ("c.yaml", "")])
    assert {m.file for m in found.value.mistakes} == {"a.yaml", "b.yaml", "c.yaml"}


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(Mistakes):
        parse_rule_pack(text, "junk.yaml")


@given(st.data())
def test_no_damage_to_a_pack_does_more_than_be_refused(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SHIPPED))[1]
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 20))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[at + cut :]
    with suppress(Mistakes):
        assert parse_rule_pack(damaged, "damaged.yaml").rows


def dated(version: str, start: str | None = None, end: str | None = None) -> tuple[str, str]:
    text = SMALL.replace('version: "1"', f'version: "{version}"')
    if start:
        text += f"effective_from: {start}\n"
    if end:
        text += f"effective_to: {end}\n"
    return f"{version}.yaml", text


def test_the_version_in_force_is_found_by_its_date() -> None:
    packs = catalogue([dated("new", "2026-01-01"), dated("old"), dated("short", "2024-01-01", "2025-01-01")], zone=HCM)

    def version(day: str) -> str:
        found = packs.get("shop", parse_date(day, HCM))
        assert found is not None
        return found.version

    days = ("1990-01-01", "2024-01-01", "2024-12-31", "2025-01-01", "2025-12-31", "2026-01-01")
    assert [version(d) for d in days] == ["old", "short", "short", "old", "old", "new"]
    assert packs.changes("shop") == tuple(parse_date(d, HCM) for d in ("2024-01-01", "2025-01-01", "2026-01-01"))
    assert packs.changes(None) == ()


def test_before_the_first_version_there_is_no_rule() -> None:
    packs = catalogue([dated("new", "2026-01-01")])
    assert packs.get("shop", -(2**63)) is None
    assert packs.get("shop", parse_date("2025-12-31", HCM)) is None
    assert packs.get("other", 0) is None


def test_two_packs_may_share_neither_version_nor_date() -> None:
    for pair in ([dated("1"), dated("1", "2026-01-01")], [dated("1"), dated("2")]):
        with pytest.raises(Mistakes, match=r"has the same (version|effective_from) as"):
            catalogue(pair)


def test_versions_of_a_pack_take_the_same_parameters() -> None:
    name, text = dated("new", "2026-01-01")
    with pytest.raises(Mistakes, match=r"takes other parameters than shop@old in old\.yaml; give"):
        catalogue([dated("old"), (name, text.replace("values: [a, b]", "values: [b, a]"))])


def test_edges_that_cannot_be_compared_are_taken_to_be_meant() -> None:
    text = SMALL.replace("[0, 500 e]", "[0, 0.5 max]").replace("(500 e, inf)", "(0.5 max, max]")
    text = text.replace("mpe: 0.1 %", "mpe: 1 e").replace("e: {dimension", "max: {dimension: mass}\n  e: {dimension")
    assert len(parse_rule_pack(text, "shop.yaml").rows) == 2


def test_limits_may_depend_on_the_size_of_a_parameter() -> None:
    text = SMALL.replace('- {at: "[0, 500 e]"', '- {e: "(0, 5 g]", at: "[0, 500 e]"')
    found = parse_rule_pack(text, "shop.yaml")
    for e, bands in (("5 g", 1), ("5.001 g", 0)):
        limits = found.limits({"class": "a", "e": e}, in_service=False, unit="g", error="absolute")
        assert limits is not None
        assert len(limits.bands) == bands


def test_the_sites_own_pack_replaces_the_shipped_one() -> None:
    own = SMALL.replace("id: shop", "id: oiml-r76").replace('version: "1"', 'version: "2006"')
    packs = catalogue(SHIPPED, own=[("mine.yaml", own)])
    found = packs.get("oiml-r76", 0)
    assert found is not None
    assert found.title == "Shop scales"
    assert len(list(packs)) == len(SHIPPED)
