"""A DCC becomes certificates of a known device and channel, one for each state (as found, as left).

The device is the one said, the one remembered of an identification, or the one whose serial number (or id) the
certificate names; the channel the one said or remembered, or the only one whose unit the points have. Nothing is
guessed: what does not settle it is refused with the option that does. The certificate is then what YAML would say.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Mistake
from gateway.metrology.units import convert, to_decimal
from gateway.registry.certify import AXIS_UNITS
from gateway.registry.channels import channel_from
from gateway.registry.dcc import Dcc, Role, Table, read_dcc
from gateway.registry.dcc_mapping import Mappings
from gateway.registry.dcc_points import points_of
from gateway.registry.dcc_table import CalibratedPoint
from gateway.registry.dcc_units import comparable, is_ratio
from gateway.registry.dcc_values import DccError
from gateway.registry.fields import decimal_text
from gateway.registry.model import Channel, ErrorKind, Phase
from gateway.registry.specs import CertificateSpec, DeviceSpec, Entry, Specs
from gateway.registry.texts import entries
from gateway.registry.yamltext import Document, Tree
from gateway.registry.yamltext import Path as TreePath

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["DccBinding", "bind_dcc"]

_OTHER = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DccBinding:
    """How DCC XML is bound to devices: what was said for it, what is remembered, whom to trust, when it is."""

    device: str | None = None
    channel: str | None = None
    table: str | None = None
    number: str | None = None
    said: Mapping[Role, str] | None = None
    remembered: Mappings = field(default_factory=Mappings)
    sign: Role | None = None
    trusted: Sequence[x509.Certificate] = ()
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)


def bind_dcc(path: Path, devices: Sequence[Entry[DeviceSpec]], how: DccBinding) -> Specs:
    """Return the certificates of a DCC file on one of these devices; its mistakes are part of the result."""
    raw, file = path.read_bytes(), str(path)
    dcc = read_dcc(raw, file)
    if isinstance(dcc, list):
        return Specs(mistakes=tuple(dcc))
    columns = [*([how.said] if how.said else []), *how.remembered.of(dcc.laboratory)]
    points = points_of(dcc, columns, how.sign)
    if isinstance(points, list):
        return Specs(mistakes=tuple(points))
    wrong = _signature(raw, dcc, how)
    if wrong is None and not points.points:
        wrong = _unnamed(dcc, points.unnamed)
    if wrong is not None:
        return Specs(mistakes=(wrong,))
    try:
        return _Binding(dcc, how, {e.spec.id: e for e in devices}).specs(points.points)
    except DccError as error:
        return Specs(mistakes=(error.mistake(file),))


def _signature(raw: bytes, dcc: Dcc, how: DccBinding) -> Mistake | None:
    """Return the mistake of an invalid signature."""
    if not dcc.signed:
        return None
    from gateway.registry.dcc_signature import Signature, check_signature

    signed = check_signature(raw, how.trusted, how.now)
    if signed.state is not Signature.INVALID:
        return None
    return Mistake(file=dcc.file, line=signed.line, key="ds:Signature", message=f"is invalid: {signed.reason}")


def _unnamed(dcc: Dcc, tables: Sequence[Table]) -> Mistake:
    table = next((t for t in tables if any(c.numbers for c in t.columns)), None)
    if table is None:
        return Mistake(file=dcc.file, line=None, key="dcc:measurementResults", message="has no table of numbers")
    names = ", ".join(f"#{i} {c.name!r}" for i, c in enumerate(table.columns, start=1) if c.numbers)
    message = (
        f"no refType says what its columns are ({names}); say it, such as --column reference='#1' --column error='#2'"
    )
    return Mistake(file=dcc.file, line=table.place.line, key=table.place.path, message=message)


class _Binding:
    """One certificate on its way to its device."""

    def __init__(self, dcc: Dcc, how: DccBinding, devices: Mapping[str, Entry[DeviceSpec]]) -> None:
        self.dcc, self.how, self.devices = dcc, how, devices
        self.said = [i for item in dcc.items for i in item.identifications]
        self.bound = how.remembered.bound(self.said)

    def specs(self, points: Sequence[CalibratedPoint]) -> Specs:
        place = points[0].place
        entry = self._device(points[0])
        channel = self._channel(entry, points)
        trees: list[tuple[TreePath, Tree]] = []
        lines: dict[TreePath, int] = {}
        for phase in Phase:
            chosen = self._chosen(points, phase, channel)
            if not chosen:
                continue
            path: TreePath = ("certificates", len(trees))
            lines[path] = chosen[0].place.line
            lines[*path, "performed_at"] = self.dcc.performed_place.line
            for i, point in enumerate(chosen):
                lines[*path, "points", i] = point.place.line
            trees.append((path, self._tree(entry.spec.id, channel, phase, chosen)))
        if not trees:
            raise DccError(place, f"no table has errors in a unit of {channel.name}, {channel.unit}")
        sound, wrong = entries(CertificateSpec, trees, Document(file=self.dcc.file, lines=lines))
        return Specs(certificates=sound, mistakes=tuple(wrong))

    def _device(self, point: CalibratedPoint) -> Entry[DeviceSpec]:
        """Return the device; DccError when none or several may be meant."""
        wanted = self.how.device or (None if self.bound is None else self.bound.device)
        if wanted is not None:
            if wanted not in self.devices:
                raise DccError(point.place, f"is to be of the device {wanted}, which is not known; apply it first")
            return self.devices[wanted]
        serials = {i.serial for i in self.dcc.items if i.serial is not None}
        for match in (serials, set(self.said)):
            found = [e for e in self.devices.values() if e.spec.serial in match or e.spec.id in match]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(sorted(e.spec.id for e in found))
                raise DccError(point.place, f"may be of any of {names}; say which with --device")
        shown = ", ".join(self.said) or "none"
        raise DccError(point.place, f"no device has its serial number or identification ({shown}); say --device")

    def _channel(self, entry: Entry[DeviceSpec], points: Sequence[CalibratedPoint]) -> Channel:
        """Return the channel; DccError when none or several may be meant."""
        mistakes: list[Mistake] = []
        known = {name: channel_from(entry, name, spec, mistakes) for name, spec in entry.spec.channels.items()}
        bound = None if self.bound is None or self.bound.device != entry.spec.id else self.bound.channel
        wanted = self.how.channel or bound
        names = ", ".join(known) or "none"
        if wanted is not None:
            if wanted not in known:
                raise DccError(points[0].place, f"device {entry.spec.id} has no channel {wanted}; it has {names}")
            return known[wanted]
        found = [c for c in known.values() if any(comparable(p.x_unit, c.unit) for p in points)]
        if len(found) == 1:
            return found[0]
        what = "none" if not found else "several"
        raise DccError(
            points[0].place,
            f"is in {points[0].x_unit}, and {what} of the channels of {entry.spec.id} fit ({names}); say --channel",
        )

    def _chosen(self, points: Sequence[CalibratedPoint], phase: Phase, channel: Channel) -> list[CalibratedPoint]:
        """Return the points of one state whose unit is the channel's, of one table."""
        found = [p for p in points if p.phase is phase and comparable(p.x_unit, channel.unit)]
        found = [p for p in found if self.how.table is None or p.table == self.how.table]
        tables = list(dict.fromkeys(p.table for p in found))
        if len(tables) > 1:
            shown = ", ".join(repr(t) for t in tables)
            raise DccError(found[0].place, f"the tables {shown} have errors in {channel.unit}; say --table")
        for point in found:
            if point.error is None or point.U is None or point.reference is None:
                raise DccError(point.place, "has no error, or NaN for a number; a baseline needs all of them")
            if point.k is None:
                raise DccError(point.place, "states U without its coverage factor; ask the laboratory for k")
        return found

    def _tree(self, device: str, channel: Channel, phase: Phase, points: Sequence[CalibratedPoint]) -> Tree:
        tree: dict[str, Tree] = {
            "id": self.how.number or _slug(self.dcc.id),
            "device": device,
            "channel": channel.name,
            "phase": phase.value,
            "performed_at": self.dcc.performed_at,
            "valid_to": self.dcc.valid_to,
            "interval_months": None if self.dcc.interval_months is None else str(self.dcc.interval_months),
            "laboratory": self.dcc.laboratory,
            "points": [dict(_point(p, channel)) for p in points],
        }
        if channel.axis not in AXIS_UNITS:
            tree["x_is"] = "reference"
        return {key: value for key, value in tree.items() if value is not None}


def _point(point: CalibratedPoint, channel: Channel) -> Iterator[tuple[str, Tree]]:
    """Yield the keys of a point as YAML would have them, the error in the channel's kind."""
    error, U, reference = point.error or Decimal(0), point.U or Decimal(0), point.reference or Decimal(0)
    written = point.unit
    ratio = is_ratio(point.unit)
    if channel.error is ErrorKind.RELATIVE and not ratio:
        if not reference:
            raise DccError(point.place, f"has the reference 0, where the relative error of {channel.name} has no value")
        factor = 100 / abs(Fraction(convert(reference, point.x_unit, point.unit)))
        error, U, written = to_decimal(Fraction(error) * factor), to_decimal(Fraction(U) * factor), "%"
    elif channel.error is ErrorKind.ABSOLUTE and ratio and not is_ratio(channel.unit):
        percent = Fraction(convert(Decimal(1), point.unit, "%", difference=True))
        factor = abs(Fraction(reference)) * percent / 100
        error, U, written = to_decimal(Fraction(error) * factor), to_decimal(Fraction(U) * factor), point.x_unit
    yield "x", _x(point, channel)
    yield "error", f"{decimal_text(error)} {written}"
    yield "U", f"{decimal_text(U)} {written}"
    yield "k", decimal_text(point.k or Decimal(0))


def _x(point: CalibratedPoint, channel: Channel) -> str:
    """Return x on the channel's axis: the reference, or the column of its flow or current."""
    wanted = AXIS_UNITS.get(channel.axis)
    if wanted is None:
        return f"{decimal_text(point.reference or Decimal(0))} {point.x_unit}"
    fitting = [o for o in point.others if comparable(o.unit, wanted)]
    found = [o for o in fitting if o.role is Role.X] or fitting
    if len(found) != 1 or found[0].value is None:
        names = ", ".join(repr(o.name) for o in fitting) or "none"
        raise DccError(
            point.place, f"its {channel.axis.value} is in no single column ({names} fit); say it with --column x=NAME"
        )
    return f"{decimal_text(found[0].value)} {found[0].unit}"


def _slug(text: str) -> str:
    """Return an id made of a certificate's number.

    >>> _slug("DIMCI 0496/2025"), _slug("3681 - 26 (YB)")
    ('dimci-0496-2025', '3681-26-yb')
    """
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D")).encode("ascii", "ignore").decode()
    slug = re.sub(r"-{2,}", "-", _OTHER.sub("-", plain.lower())).strip("-._")
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    if not slug:
        return f"dcc-{digest}"
    return slug if len(slug) <= 64 else f"{slug[:53]}-{digest}"
