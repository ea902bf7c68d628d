"""Small DCCs of every schema version, built from columns: test data of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

VERSIONS = ("2.4.0", "3.0.0", "3.1.2", "3.2.1", "3.3.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One column: `alternatives` are (values, unit) of a hybrid; U and k as texts, one for all or one for each."""

    name: str
    ref_type: str | None
    alternatives: Sequence[tuple[str, str]]
    U: str | None = None
    k: str | None = "2"
    relative: str | None = None
    new_names: bool | None = None
    more: str = ""


REFERENCE = Quantity(
    name="Reference value", ref_type="basic_referenceValue", alternatives=[("1000 5000 10000", r"\gram")]
)
INDICATION = Quantity(
    name="Indication", ref_type="basic_measuredValue", alternatives=[("1000.4 5001.2 10002.0", r"\gram")]
)
ERROR = Quantity(
    name="Error", ref_type="basic_measurementError", alternatives=[("0.4 1.2 2.0", r"\gram")], U="1.0 1.0 1.2"
)
TABLE = (REFERENCE, INDICATION, ERROR)


def text(tag: str, words: str) -> str:
    return f'<dcc:{tag}><dcc:content lang="en">{escape(words)}</dcc:content></dcc:{tag}>'


def uncertainty(version: str, quantity: Quantity, *, listed: bool, i: int = 0) -> str:
    if quantity.U is None:
        return ""
    suffix = "XMLList" if listed else ""
    U, k = quantity.U, quantity.k
    if not listed:
        U = U.split()[i if len(U.split()) > 1 else 0]
        k = None if k is None else k.split()[i if len(k.split()) > 1 else 0]
    factor = "" if k is None else f"<si:coverageFactor{suffix}>{k}</si:coverageFactor{suffix}>"
    rest = f"{factor}<si:coverageProbability{suffix}>0.95</si:coverageProbability{suffix}>"
    new = version >= "3.3" if quantity.new_names is None else quantity.new_names
    if new:
        return (
            f"<si:measurementUncertaintyUnivariate{suffix}><si:expandedMU{suffix}>"
            f"<si:valueExpandedMU{suffix}>{U}</si:valueExpandedMU{suffix}>{rest}"
            f"</si:expandedMU{suffix}></si:measurementUncertaintyUnivariate{suffix}>"
        )
    return (
        f"<si:expandedUnc{suffix}><si:uncertainty{suffix}>{U}</si:uncertainty{suffix}>{rest}</si:expandedUnc{suffix}>"
    )


def numbers(version: str, quantity: Quantity) -> str:
    parts = []
    for n, (values, unit) in enumerate(quantity.alternatives):
        own = quantity if n == 0 else Quantity(name="", ref_type=None, alternatives=[])
        if version >= "3.1":
            parts.append(
                f"<si:realListXMLList>\n<si:valueXMLList>{values}</si:valueXMLList>\n<si:unitXMLList>{unit}"
                f"</si:unitXMLList>\n{uncertainty(version, own, listed=True)}</si:realListXMLList>"
            )
            continue
        reals = "".join(
            f"<si:real><si:value>{v}</si:value><si:unit>{unit}</si:unit>"
            f"{uncertainty(version, own, listed=False, i=i)}</si:real>\n"
            for i, v in enumerate(values.split())
        )
        inner = f"<si:realList>{reals}</si:realList>" if version >= "3.0" else reals
        parts.append(f"<si:list>{inner}</si:list>")
    body = "".join(parts)
    return body if len(parts) == 1 else f"<si:hybrid>{body}</si:hybrid>"


def ref_type_of(version: str, ref_type: str) -> str:
    """Return a refType as its version spells it: 2.4 has paths."""
    return f"/{ref_type.replace('_', '/')}" if version < "3" else ref_type


def quantity_xml(version: str, quantity: Quantity) -> str:
    written = None if quantity.ref_type is None else ref_type_of(version, quantity.ref_type)
    ref_type = "" if written is None else f' refType="{written}"'
    relative = ""
    if quantity.relative is not None:
        value, unit = quantity.relative.rsplit(" ", 1)
        relative = (
            "<dcc:relativeUncertainty><dcc:relativeUncertaintyXmlList>"
            f"<si:valueXMLList>{value}</si:valueXMLList><si:unitXMLList>{unit}</si:unitXMLList>"
            "</dcc:relativeUncertaintyXmlList></dcc:relativeUncertainty>"
        )
    return (
        f"<dcc:quantity{ref_type}>{text('name', quantity.name)}\n{numbers(version, quantity)}{relative}{quantity.more}"
        "</dcc:quantity>\n"
    )


def table_xml(version: str, table: Sequence[Quantity]) -> str:
    return f"<dcc:list>\n{''.join(quantity_xml(version, q) for q in table)}</dcc:list>\n"


def dcc(
    version: str = "3.3.0",
    table: Sequence[Quantity] = TABLE,
    *,
    as_found: Sequence[Quantity] = (),
    number: str = "3681-26 (YB)",
    serial: str = "A1234",
    begin: str = "2026-03-01",
    end: str = "2026-03-02",
    recalibration: str | None = "<dcc:date>2027-03-02</dcc:date>",
    conformity: str | None = "pass",
    laboratory: str = "Trung tâm Kỹ thuật TĐC",
    method: str = "",
) -> str:
    """Return a DCC of a balance; everything a schema of its version needs is there."""
    status = "state" if version < "3" else "status"
    place = "" if version < "3" else "<dcc:performanceLocation>laboratory</dcc:performanceLocation>"
    name = "" if version < "3" else text("name", "Results")
    contact = "<dcc:eMail>tdc@example.org</dcc:eMail><dcc:location><dcc:city>Hà Nội</dcc:city></dcc:location>"
    adjustment = ref_type_of(version, "basic_adjustment")
    condition = (
        f'<dcc:influenceConditions><dcc:influenceCondition refType="{adjustment}">{text("name", "Adjustment")}'
        f"<dcc:{status}>beforeAdjustment</dcc:{status}><dcc:data>{table_xml(version, as_found)}</dcc:data>"
        "</dcc:influenceCondition></dcc:influenceConditions>"
        if as_found
        else ""
    )
    methods = (
        f"<dcc:usedMethods><dcc:usedMethod>{text('name', 'U')}{text('description', method)}</dcc:usedMethod>"
        "</dcc:usedMethods>"
        if method
        else ""
    )
    statements = ""
    if recalibration is not None and version >= "3":
        statements += f'<dcc:statement refType="basic_recalibration">{recalibration}</dcc:statement>\n'
    if conformity is not None and version >= "3":
        statements += (
            f'<dcc:statement refType="basic_conformity"><dcc:conformity>{conformity}</dcc:conformity></dcc:statement>\n'
        )
    statements = f"<dcc:statements>\n{statements}</dcc:statements>\n" if statements else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<dcc:digitalCalibrationCertificate schemaVersion="{version}"
 xmlns:dcc="https://ptb.de/dcc" xmlns:si="https://ptb.de/si">
<dcc:administrativeData>
<dcc:dccSoftware><dcc:software>{text("name", "tests")}<dcc:release>1</dcc:release></dcc:software></dcc:dccSoftware>
<dcc:coreData>
<dcc:countryCodeISO3166_1>VN</dcc:countryCodeISO3166_1>
<dcc:usedLangCodeISO639_1>en</dcc:usedLangCodeISO639_1>
<dcc:mandatoryLangCodeISO639_1>en</dcc:mandatoryLangCodeISO639_1>
<dcc:uniqueIdentifier>{escape(number)}</dcc:uniqueIdentifier>
<dcc:beginPerformanceDate>{begin}</dcc:beginPerformanceDate>
<dcc:endPerformanceDate>{end}</dcc:endPerformanceDate>
{place}
</dcc:coreData>
<dcc:items><dcc:item>{text("name", "Balance")}{text("description", "15 kg")}
<dcc:manufacturer>{text("name", "N.N.")}</dcc:manufacturer><dcc:identifications><dcc:identification>
<dcc:issuer>manufacturer</dcc:issuer><dcc:value>{escape(serial)}</dcc:value>
</dcc:identification></dcc:identifications></dcc:item></dcc:items>
<dcc:calibrationLaboratory><dcc:contact>{text("name", laboratory)}{contact}</dcc:contact></dcc:calibrationLaboratory>
<dcc:respPersons><dcc:respPerson><dcc:person>{text("name", "N.N.")}</dcc:person></dcc:respPerson></dcc:respPersons>
<dcc:customer>{text("name", "Market")}{contact}</dcc:customer>
{statements}</dcc:administrativeData>
<dcc:measurementResults><dcc:measurementResult>
{name}
{methods}
{condition}
<dcc:results><dcc:result>{text("name", "Weighing")}<dcc:data>
{table_xml(version, table)}</dcc:data></dcc:result></dcc:results>
</dcc:measurementResult></dcc:measurementResults>
</dcc:digitalCalibrationCertificate>
"""
