"""DCC XML of every schema version as points (CONTRACTS §2, METROLOGY §7), and what is refused, with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Mistake
from gateway.registry.dcc import Dcc, Role, read_dcc
from gateway.registry.dcc_points import Points, points_of
from gateway.registry.dcc_table import CalibratedPoint
from gateway.registry.model import Phase
from tests.registry.dccs import ERROR, INDICATION, REFERENCE, TABLE, VERSIONS, Quantity, dcc

Column = Sequence[Decimal | None]


def read(xml: str) -> Dcc:
    found = read_dcc(xml.encode(), "c.xml")
    assert isinstance(found, Dcc), [str(m) for m in found]
    return found


def points(xml: str, sign: Role | None = None) -> tuple[CalibratedPoint, ...]:
    found = points_of(read(xml), sign=sign)
    assert isinstance(found, Points), [str(m) for m in found]
    return found.points


def mistakes(xml: str | bytes) -> list[Mistake]:
    """Return what refuses a file: its form, or its points."""
    raw = xml.encode() if isinstance(xml, str) else xml
    found = read_dcc(raw, "c.xml")
    if isinstance(found, Dcc):
        pointed = points_of(found)
        assert isinstance(pointed, list), pointed
        return pointed
    return found


def line_of(xml: str, piece: str) -> int:
    assert piece in xml
    return xml[: xml.index(piece)].count("\n") + 1


def row(point: CalibratedPoint) -> tuple[Decimal | None, ...]:
    return (point.reference, point.indication, point.error, point.U, point.k)


def rows(*texts: str) -> list[tuple[Decimal, ...]]:
    return [tuple(Decimal(word) for word in text.split()) for text in texts]


WHOLE = rows("1000 1000.4 0.4 1.0 2", "5000 5001.2 1.2 1.0 2", "10000 10002.0 2.0 1.2 2")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_schema_version_says_the_same(version: str) -> None:
    found = read(dcc(version))
    assert (found.schema, found.id, found.laboratory) == (version, "3681-26 (YB)", "Trung tâm Kỹ thuật TĐC")
    assert (found.performed_at, found.valid_to) == ("2026-03-02", None if version < "3" else "2027-03-02")
    assert found.items[0].serial == "A1234"
    assert found.conformity == (None if version < "3" else "pass")
    said = points(dcc(version))
    assert [row(p) for p in said] == WHOLE
    assert {(p.phase, p.unit, p.x_unit) for p in said} == {(Phase.AS_LEFT, "g", "g")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("new_names", [False, True])
def test_both_names_of_the_expanded_uncertainty_are_read(version: str, new_names: bool) -> None:
    table = (REFERENCE, INDICATION, replace(ERROR, new_names=new_names))
    assert [row(p) for p in points(dcc(version, table))] == WHOLE


@pytest.mark.parametrize("version", VERSIONS)
def test_as_found_stands_under_the_influence_conditions(version: str) -> None:
    before = (REFERENCE, replace(ERROR, alternatives=[("4 5 6", r"\gram")], U="1"))
    found = points(dcc(version, as_found=before))
    assert [(p.phase, p.error) for p in found[:3]] == [(Phase.AS_FOUND, Decimal(n)) for n in (4, 5, 6)]
    assert [row(p) for p in found[3:]] == WHOLE


def test_a_list_of_one_holds_for_all_points() -> None:
    found = points(dcc(table=(REFERENCE, INDICATION, replace(ERROR, U="0.9", k="2.1"))))
    assert {(p.U, p.k) for p in found} == {(Decimal("0.9"), Decimal("2.1"))}


def test_a_hybrid_is_read_in_the_unit_of_its_table() -> None:
    reference = replace(REFERENCE, alternatives=[("1 5 10", r"\kilogram"), ("1000 5000 10000", r"\gram")])
    assert [row(p) for p in points(dcc(table=(reference, INDICATION, ERROR)))] == WHOLE


def test_a_hybrid_that_contradicts_itself_is_refused() -> None:
    reference = replace(REFERENCE, alternatives=[("1.000 5.000 10.000", r"\kilogram"), ("1000 5100 10000", r"\gram")])
    (found,) = mistakes(dcc(table=(reference, INDICATION, ERROR)))
    assert "5100 g is not the 5.000 kg" in found.message


def test_units_of_one_dimension_are_brought_together() -> None:
    error = replace(ERROR, alternatives=[("400 1200 2000", r"\milli\gram")], U="1000 1000 1200")
    assert [row(p) for p in points(dcc(table=(REFERENCE, INDICATION, error)))] == WHOLE


def test_a_relative_uncertainty_is_of_the_value() -> None:
    indication = replace(INDICATION, relative=r"0.01 \percent")
    table = (REFERENCE, indication, replace(ERROR, U=None))
    found = points(dcc(table=table, method="The coverage factor is k = 2 (95 %)."))
    assert [p.U for p in found] == [Decimal("0.10004"), Decimal("0.50012"), Decimal("1.00020")]
    assert {p.k for p in found} == {Decimal(2)}
    assert {p.k for p in points(dcc(table=table))} == {None}


def test_a_relative_error_stands_beside_x_in_another_unit() -> None:
    x = replace(REFERENCE, alternatives=[("19.93", r"\litre")])
    indication = replace(INDICATION, alternatives=[("20.00", r"\litre")])
    error = replace(ERROR, alternatives=[("0.0035", r"\one")], U="0.001")
    (point,) = points(dcc(table=(x, indication, error)))
    assert (point.x_unit, point.unit) == ("L", "%")
    assert (point.error, point.U) == (Decimal("0.35"), Decimal("0.1"))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_uncertainty_may_be_nan_only_where_its_value_is(version: str) -> None:
    error = replace(ERROR, alternatives=[("0.4 NaN 2.0", r"\gram")], U="1.0 NaN 1.2", k="2 NaN 2")
    found = points(dcc(version, table=(REFERENCE, INDICATION, error)))
    assert [(p.error is None, p.U is None, p.k is None) for p in found] == [(n == 1,) * 3 for n in range(3)]
    for wrong in (replace(ERROR, U="1.0 NaN 1.2"), replace(ERROR, k="2 NaN 2")):
        assert "NaN" in mistakes(dcc(version, table=(REFERENCE, INDICATION, wrong)))[0].message


def test_without_a_column_of_errors_the_error_is_computed() -> None:
    found = points(dcc(table=(REFERENCE, replace(INDICATION, U="1.0 1.0 1.2"))))
    assert [row(p) for p in found] == WHOLE


def test_without_an_indication_it_is_the_reference_and_the_error() -> None:
    assert [row(p) for p in points(dcc(table=(REFERENCE, ERROR)))] == WHOLE


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=8, unique=True).map(sorted),
    st.lists(st.integers(-9999, 9999), min_size=8, max_size=8),
    st.booleans(),
    st.sampled_from(VERSIONS),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(x: list[int], milli: list[int], down: bool, version: str) -> None:
    order = x[::-1] if down else x
    errors = [Decimal(m) / 1000 for m in milli[: len(x)]]
    table = (
        replace(REFERENCE, alternatives=[(" ".join(map(str, order)), r"\gram")]),
        replace(ERROR, alternatives=[(" ".join(map(str, errors)), r"\gram")], U="1"),
    )
    found = points(dcc(version, table))
    assert [(p.reference, p.error) for p in found] == [(Decimal(n), e) for n, e in zip(order, errors, strict=True)]


CONFUSED = replace(ERROR, alternatives=[("-0.4 -1.2 -2.0", r"\gram")])


def test_a_correction_in_the_column_of_errors_is_asked_about() -> None:
    xml = dcc(table=(REFERENCE, INDICATION, CONFUSED))
    (found,) = mistakes(xml)
    assert found.line == line_of(xml, ">-0.4 -1.2")
    assert "--sign correction" in found.message
    assert [row(p) for p in points(xml, Role.CORRECTION)] == WHOLE


def test_an_error_that_is_named_a_correction_is_asked_about() -> None:
    table = (REFERENCE, replace(CONFUSED, name="Số hiệu chính"))
    (found,) = mistakes(dcc(table=table))
    assert "--sign error or --sign correction" in found.message
    assert [p.error for p in points(dcc(table=table), Role.CORRECTION)] == [Decimal(t) for t in ("0.4", "1.2", "2.0")]
    assert [p.error for p in points(dcc(table=table), Role.ERROR)] == [Decimal(t) for t in ("-0.4", "-1.2", "-2.0")]


def test_columns_without_ref_types_are_not_guessed() -> None:
    table = tuple(replace(q, ref_type=None) for q in TABLE)
    found = points_of(read(dcc(table=table)))
    assert isinstance(found, Points)
    assert not found.points
    assert [c.name for c in found.unnamed[0].columns] == ["Reference value", "Indication", "Error"]
    names = {Role.REFERENCE: "#1", Role.INDICATION: "indication", Role.ERROR: "Error"}
    mapped = points_of(read(dcc(table=table)), [names])
    assert isinstance(mapped, Points)
    assert [row(p) for p in mapped.points] == WHOLE


def changed(old: str, new: str, **kind: str) -> Callable[[], tuple[str, str]]:
    def make() -> tuple[str, str]:
        xml = dcc(**kind)  # type: ignore[arg-type]
        assert old in xml
        return xml.replace(old, new, 1), new

    return make


@pytest.mark.parametrize(
    ("make", "element", "words"),
    [
        (changed("<dcc:uniqueIdentifier>", "<dcc:number>1</dcc:number><dcc:uniqueIdentifier>"), "dcc:number", "belong"),
        (changed("<si:valueXMLList>", "<dcc:name/><si:valueXMLList>"), "dcc:name", "does not belong"),
        (changed("<si:unitXMLList>", "<si:valueXMLList>1</si:valueXMLList><si:unitXMLList>"), "si:value", "again"),
        (changed("<dcc:list>", "<dcc:list>12 kg"), "dcc:list", "where only elements belong"),
        (changed(">1000 5000 10000<", ">1 000 5 000 10 000<"), "si:valueXMLList", "values where the table has"),
        (changed(">1000 5000 10000<", ">1000 5000<"), "si:valueXMLList", "has 2 values where the table has 3"),
        (changed(">1000 5000 10000<", ">1000 5,000 10000<"), "si:valueXMLList", "comma"),
        (changed(">1000 5000 10000<", ">1000 10000 5000<"), "si:valueXMLList", "out of order"),
        (changed(">1000 5000 10000<", ">1000 five 10000<"), "si:valueXMLList", "not a number"),
        (changed(">1.0 1.0 1.2<", ">1.0 1.0<"), "si:realListXMLList", "give one, or one for each"),
        (changed(">1.0 1.0 1.2<", ">1.0 -1.0 1.2<"), "si:valueExpandedMUXMLList", "0 or more"),
        (changed(r">\gram<", r">\gram \gram<"), "si:valueXMLList", "2 units"),
        (changed(r">\gram<", r">\kelvin<"), "si:valueXMLList", "is in g, the others of its table in K"),
        (changed(r">\gram<", r">\gramm<"), "si:unitXMLList", r"\gramm is not known"),
        (changed(">2026-03-02<", ">2026-02-30<"), "dcc:endPerformanceDate", "not a date"),
        (changed(">2026-03-02<", ">02/03/2026<"), "dcc:endPerformanceDate", "not a date"),
        (changed(">2026-03-02<", ">2026-02-02<"), "dcc:endPerformanceDate", "before the begin"),
        (changed(">2027-03-02<", ">2025-03-02<"), "dcc:date", "not after the calibration"),
        (changed('"3.3.0"', '"3.4.0"'), "@schemaVersion", "known are 2.4 to 3.3"),
        (changed('"2.4.0"', '"2.3.0"', version="2.4.0"), "@schemaVersion", "known are 2.4 to 3.3"),
        (changed("https://ptb.de/dcc", "https://ptb.de/dcx"), "digitalCalibrationCertificate", "no DCC"),
        (changed("https://ptb.de/si", "https://example.org/si"), "example.org", "does not belong"),
        (changed("</dcc:results>", "</dcc:result>"), "dcc:result", "not XML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(make: Callable[[], tuple[str, str]], element: str, words: str) -> None:
    xml, _ = make()
    first = mistakes(xml)[0]
    assert words in first.message, str(first)
    assert element in first.key
    assert first.line is not None
    assert first.line <= xml.count("\n")
    if "again" in words:
        assert first.line == line_of(xml, "<si:unitXMLList>")


def test_one_number_with_blanks_between_thousands_is_refused() -> None:
    table = (
        replace(REFERENCE, alternatives=[("1 400", r"\gram")]),
        replace(ERROR, alternatives=[("0.4", r"\gram")], U="1"),
    )
    assert "thousands separator" in mistakes(dcc(table=table))[0].message
    assert "thousands separator" in mistakes(dcc("2.4.0").replace(">1000<", ">1 000<"))[0].message


@pytest.mark.parametrize("version", VERSIONS)
def test_a_point_without_uncertainty_is_refused(version: str) -> None:
    xml = dcc(version, (REFERENCE, INDICATION, replace(ERROR, U=None)))
    (found,) = mistakes(xml)
    assert "uncertainty" in found.message
    assert found.line is not None
    (found,) = mistakes(dcc(version, (REFERENCE, INDICATION, replace(ERROR, k=None))))[:1]
    assert "coverageFactor" in found.message


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("head", [LAUGHS, OUTSIDE, '<!DOCTYPE x SYSTEM "http://localhost/x.dtd">', "<!DOCTYPE x>"])
def test_a_document_type_is_refused_before_anything_it_declares(head: str) -> None:
    xml = dcc(number="&a;").replace("&amp;a;", "&a;").replace("?>\n", f"?>\n{head}\n", 1)
    (found,) = mistakes(xml)
    assert (found.key, found.line) == ("DOCTYPE", 2)


def test_a_tree_deeper_or_larger_than_a_certificate_is_refused() -> None:
    assert "nested deeper" in mistakes("<a>" * 100 + "</a>" * 100)[0].message
    assert "more than" in mistakes("<a>" + "<b/>" * 200_001 + "</a>")[0].message
    assert "larger than" in mistakes(b" " * (32 * 2**20 + 1))[0].message


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_told_or_harmless_and_never_raises(data: st.DataObject) -> None:
    raw = bytearray(dcc(data.draw(st.sampled_from(VERSIONS))).encode())
    start = data.draw(st.integers(0, len(raw) - 1))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    raw[start:end] = data.draw(st.binary(max_size=8))
    found = read_dcc(bytes(raw), "c.xml")
    pointed = points_of(found) if isinstance(found, Dcc) else found
    if isinstance(pointed, list):
        assert pointed
        assert all(m.file == "c.xml" and m.message for m in pointed)


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    assert isinstance(read_dcc(text.encode("utf-8", "surrogatepass"), "c.xml"), list)


def test_a_loop_of_loads_up_and_down_is_in_order() -> None:
    loop = replace(REFERENCE, alternatives=[("1 5 10 5.05 1", r"\gram")])
    errors: Quantity = replace(ERROR, alternatives=[("1 2 3 4 5", r"\gram")], U="1")
    assert len(points(dcc(table=(loop, errors)))) == 5
