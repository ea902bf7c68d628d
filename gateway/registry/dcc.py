"""A digital calibration certificate (PTB DCC 2.4 to 3.3) as what it says: who, what, when, and its tables of columns.

Paths and refTypes: METROLOGY §7. As-found results stand under `dcc:influenceConditions` with the status
`beforeAdjustment` or `beforeRepair`, all others under `dcc:results`. What a column of a table is, its refType says; a
file without refTypes has unnamed columns, which a mapping names (`dcc_mapping`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from gateway.errors import Mistake
from gateway.registry.dcc_structure import ROOT, check_structure
from gateway.registry.dcc_values import DccError, Numbers, numbers_of
from gateway.registry.dcc_xml import Node, parse_xml
from gateway.registry.model import Phase

__all__ = ["Column", "Dcc", "Item", "Role", "Table", "read_dcc"]

OLDEST, NEWEST = (2, 4), (3, 3)
FIRST_YEAR, LAST_YEAR = 1900, 2261

_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.[0-9]{1,3}")
_ZONED = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_MONTHS = re.compile(r"P(?:([0-9]{1,2})Y)?(?:([0-9]{1,3})M)?")
_STATED_K = re.compile(r"\bk\s*=\s*([0-9](?:\.[0-9]{1,2})?)(?![0-9.]*[0-9])")
_BEFORE = frozenset({"beforeAdjustment", "beforeRepair"})


class Role(StrEnum):
    """What a column of a calibration table holds."""

    REFERENCE = "reference"
    INDICATION = "indication"
    ERROR = "error"
    CORRECTION = "correction"
    U = "U"
    K = "k"
    X = "x"


_REF_TYPES = {
    "basic_referenceValue": Role.REFERENCE,
    "basic_measuredValue": Role.INDICATION,
    "basic_measurementError": Role.ERROR,
    "basic_correction": Role.CORRECTION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One quantity of a table: its names in all languages, its role if the file says it, its numbers by unit."""

    names: tuple[str, ...]
    role: Role | None
    numbers: tuple[Numbers, ...]
    place: Node

    @property
    def name(self) -> str:
        """The name to show."""
        return self.names[0] if self.names else self.place.attributes.get("id", "(no name)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of one list, in the state `phase`; tables of one `group` are rows of one larger table."""

    name: str
    phase: Phase
    columns: tuple[Column, ...]
    group: str
    place: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One calibrated item: serial number (of the manufacturer), and all its identifications."""

    serial: str | None
    identifications: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dcc:
    """What one certificate says; times as written (a date, or an instant with offset), None where it says nothing."""

    file: str
    schema: str
    id: str
    items: tuple[Item, ...]
    laboratory: str | None
    performed_at: str
    performed_place: Node
    valid_to: str | None
    interval_months: int | None
    conformity: str | None
    stated_k: str | None
    signed: bool
    tables: tuple[Table, ...]


def read_dcc(raw: bytes, file: str) -> Dcc | list[Mistake]:
    """Return what a DCC says, or everything that is wrong with it, each with line and element; nothing is raised."""
    root = parse_xml(raw, file)
    if isinstance(root, Mistake):
        return [root]
    wrong = _version(root, file)
    if wrong is not None:
        return [wrong]
    mistakes = check_structure(root, file)
    if mistakes:
        return mistakes
    try:
        return _dcc(root, file)
    except DccError as error:
        return [error.mistake(file)]


def _version(root: Node, file: str) -> Mistake | None:
    if root.name != ROOT:
        message = (
            f"is XML but no DCC: its root is {root.name[:120]}, expected {ROOT} in the namespace https://ptb.de/dcc"
        )
        return Mistake(file=file, line=root.line, key=root.name[:120], message=message)
    text = root.attributes.get("schemaVersion", "")
    found = _VERSION.fullmatch(text)
    if found is not None and OLDEST <= (int(found[1]), int(found[2])) <= NEWEST and int(found[1]) in {2, 3}:
        return None
    message = f"{text[:40]!r} is not a version that is read; known are 2.4 to 3.3"
    return Mistake(file=file, line=root.line, key=f"{ROOT}/@schemaVersion", message=message)


def _dcc(root: Node, file: str) -> Dcc:
    core = _needed(root, "dcc:administrativeData/dcc:coreData")
    results = _needed(root, "dcc:measurementResults")
    begin = _needed(core, "dcc:beginPerformanceDate")
    end = _needed(core, "dcc:endPerformanceDate")
    if _date(end)[0] < _date(begin)[0]:
        raise DccError(end, f"{end.plain} is before the begin of the calibration, {begin.plain}")
    identifier = _needed(core, "dcc:uniqueIdentifier")
    if not identifier.plain or len(identifier.plain) > 200 or not identifier.plain.isprintable():
        raise DccError(identifier, "is empty or no printable line; a certificate needs its number")
    valid_to, months = _validity(root, end)
    return Dcc(
        file=file,
        schema=root.attributes["schemaVersion"],
        id=identifier.plain,
        items=tuple(_items(root)),
        laboratory=_text(root.at("dcc:administrativeData/dcc:calibrationLaboratory/dcc:contact/dcc:name"), core),
        performed_at=_moment(end),
        performed_place=end,
        valid_to=valid_to,
        interval_months=months,
        conformity=_conformity(root),
        stated_k=_stated_k(results),
        signed=root.one("ds:Signature") is not None,
        tables=tuple(_tables(results)),
    )


def _needed(node: Node, path: str) -> Node:
    found = node.at(path)
    if found is None:
        raise DccError(node, f"{path} is missing")
    return found


def _date(node: Node) -> tuple[date, str]:
    """Return an xs:date and its offset, empty without one; DccError when it is no day of the calendar."""
    found = _ZONED.fullmatch(node.plain)
    try:
        day = None if found is None else date.fromisoformat(found[1])
    except ValueError:
        day = None
    if found is None or day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise DccError(node, f"{node.plain[:40]!r} is not a date such as 2026-03-02")
    return day, found[2] or ""


def _moment(node: Node) -> str:
    """Return a date as written, or as the instant its day begins where it has an offset."""
    day, offset = _date(node)
    return f"{day.isoformat()}T00:00:00{offset}" if offset else day.isoformat()


def _validity(root: Node, end: Node) -> tuple[str | None, int | None]:
    """Return the recalibration date, or the months to it, of the statement `basic_recalibration`."""
    for statement in root.every("dcc:statement"):
        if "basic_recalibration" not in _ref_types(statement):
            continue
        stated, period = statement.one("dcc:date"), statement.one("dcc:period")
        if stated is not None:
            if _date(stated)[0] <= _date(end)[0]:
                raise DccError(stated, f"{stated.plain} is not after the calibration, {end.plain}")
            return _moment(stated), None
        found = None if period is None else _MONTHS.fullmatch(period.plain)
        if period is not None:
            months = 0 if found is None else 12 * int(found[1] or 0) + int(found[2] or 0)
            if not months:
                raise DccError(period, f"{period.plain[:40]!r} is not a period of years and months such as P1Y")
            return None, months
    return None, None


def _conformity(root: Node) -> str | None:
    """Return the conformity the certificate states as a whole, else that of its results if they all have one."""
    for statement in root.every("dcc:statement"):
        stated = statement.one("dcc:conformity")
        if stated is not None:
            return stated.plain
    found = {word for n in root.every("dcc:conformityXMLList", "dcc:conformity") for word in n.text.split()}
    return found.pop() if len(found) == 1 else None


def _stated_k(results: Node) -> str | None:
    """Return the coverage factor the methods state in words, if they agree on one."""
    words = " ".join(c.text for method in results.every("dcc:usedMethod") for c in method.every("dcc:content"))
    found = set(_STATED_K.findall(words))
    return found.pop() if len(found) == 1 else None


def _items(root: Node) -> Iterator[Item]:
    for item in _needed(root, "dcc:administrativeData/dcc:items").all("dcc:item"):
        serial, values = None, []
        ids = item.one("dcc:identifications")
        for one in () if ids is None else ids.all("dcc:identification"):
            value, issuer = _needed(one, "dcc:value").plain, _needed(one, "dcc:issuer").plain
            values.append(value)
            if issuer == "manufacturer" and (serial is None or "basic_serialNumber" in _ref_types(one)):
                serial = value
        yield Item(serial=serial, identifications=tuple(values))


def _text(node: Node | None, core: Node) -> str | None:
    """Return the text in the first mandatory language, else the first there is."""
    if node is None:
        return None
    contents = [c for c in node.all("dcc:content") if c.plain]
    language = core.one("dcc:mandatoryLangCodeISO639_1")
    wanted = [c for c in contents if language is not None and c.attributes.get("lang") == language.plain]
    found = next(iter(wanted or contents), None)
    return None if found is None else " ".join(found.text.split())


def _ref_types(node: Node) -> frozenset[str]:
    """Return the refTypes of an element; version 2.4 writes them as paths, `/basic/referenceValue`."""
    words = node.attributes.get("refType", "").split()
    return frozenset(w.removeprefix("/").replace("/", "_") if w.startswith("/") else w for w in words)


def _tables(results: Node) -> Iterator[Table]:
    """Yield the tables of the certificate, as found first within each measurement result."""
    yield from _as_found(results)
    for result in results.all("dcc:measurementResult"):
        yield from _as_found(result)
        for outcome in _needed(result, "dcc:results").all("dcc:result"):
            yield from _below(_needed(outcome, "dcc:data"), _names(outcome), Phase.AS_LEFT)


def _as_found(node: Node) -> Iterator[Table]:
    conditions = node.one("dcc:influenceConditions")
    for condition in () if conditions is None else conditions.all("dcc:influenceCondition"):
        status = condition.one("dcc:status", "dcc:state")
        if status is not None and status.plain in _BEFORE:
            yield from _below(_needed(condition, "dcc:data"), _names(condition), Phase.AS_FOUND)


def _below(node: Node, names: tuple[str, ...], phase: Phase) -> Iterator[Table]:
    columns = tuple(_column(q) for q in node.all("dcc:quantity"))
    own = _names(node) or names
    if columns:
        yield Table(name=own[0] if own else "", phase=phase, columns=columns, group="", place=node)
    for inner in node.all("dcc:list"):
        for table in _below(inner, own, phase):
            row = table.group or f"{node.line} {'|'.join(c.name for c in table.columns)}"
            yield Table(name=table.name, phase=phase, columns=table.columns, group=row, place=table.place)


def _column(quantity: Node) -> Column:
    roles = {_REF_TYPES[t] for t in (*_ref_types(quantity), quantity.attributes.get("id", "")) if t in _REF_TYPES}
    if len(roles) > 1:
        raise DccError(quantity, f"has the refTypes of {' and '.join(sorted(roles))}; a quantity is one of them")
    role = roles.pop() if roles else None
    numbers = tuple(numbers_of(quantity))
    if role is not None and not numbers:
        raise DccError(quantity, f"has no numbers, though its refType says it is the {role}")
    return Column(names=_names(quantity), role=role, numbers=numbers, place=quantity)


def _names(node: Node) -> tuple[str, ...]:
    name = node.one("dcc:name")
    return () if name is None else tuple(" ".join(c.text.split()) for c in name.all("dcc:content") if c.plain)
