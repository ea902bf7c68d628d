"""What people write of devices, certificates and events (CONTRACTS §2): typed, defaults of the format filled in.

A spec says what stands in the file. What needs more than its own lines (units of a channel, the site's zone, rule
packs, other files) is settled in `build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from gateway.errors import Mistake
from gateway.metrology.units import Quantity
from gateway.registry.fields import (
    AnyText,
    Count,
    Duration,
    Flag,
    Ident,
    Label,
    Moment,
    NotNegative,
    Positive,
    PowerFactor,
    Qty,
    RunLength,
    Text,
    decimal,
    decimal_text,
    readable,
)  # fmt: skip
from gateway.registry.model import Axis, Center, ChannelType, Decision, ErrorKind, EventKind, Influence, Kind, Phase
from gateway.registry.validation import Written
from gateway.registry.yamltext import Document, Path

__all__ = [
    "CertificateSpec", "ChannelSpec", "DeviceSpec", "Drift", "Entry", "EventSpec", "PointSpec", "Spec", "Specs",
    "stored",
]  # fmt: skip


def _present(value: Any) -> Any:
    """Return keys and values without the absent ones."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


def _present_or_empty(value: Any) -> Any:
    """Return keys and values without the absent ones; a chart without parameters has the designed ones."""
    return {} if value is None else _present(value)


def _chart_value(value: Any) -> Decimal | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(readable(name) for name in value)
    return value if isinstance(value, Decimal) else decimal(readable(value))


def _chart_value_text(value: Decimal | tuple[str, ...]) -> str | list[str]:
    return list(value) if isinstance(value, tuple) else decimal_text(value)


ChartValue = Annotated[Decimal | tuple[str, ...], PlainValidator(_chart_value), PlainSerializer(_chart_value_text)]
"""A number, or a list of names."""

Drift = dict[Ident, Annotated[dict[Text, ChartValue], BeforeValidator(_present_or_empty)]]
"""Chart -> its parameters."""


class ChannelSpec(Written):
    """One quantity a device reports. None: the default depends on the device."""

    unit: Text
    type: ChannelType = ChannelType.INDICATION
    error: ErrorKind | None = None
    axis: Axis | None = None
    sigma: Qty | None = None
    resolution: NotNegative | None = None
    center: Center = Center.AUTO
    learn: Count = 30
    subgroup: RunLength | None = None
    every: Duration | None = None
    timeout: Duration | None = None
    range: tuple[Qty, Qty] | None = None
    stuck: RunLength | None = None
    standard: Ident | None = None
    digits: Count | None = None
    multiplier: Positive | None = None
    drift: Drift | None = None
    influences: list[Influence] | None = None


class DeviceSpec(Written):
    """One instrument."""

    id: Ident
    kind: Kind
    site: Ident | None = None
    serial: AnyText | None = None
    name: AnyText | None = None
    rule_pack: Ident = "none"
    parameters: Annotated[dict[Text, Text], BeforeValidator(_present)] = Field(default_factory=dict)
    in_service: Flag = True
    decision: Decision = Decision.SIMPLE
    channels: dict[Ident, ChannelSpec] = Field(default_factory=dict)
    drift: Drift | None = None


class PointSpec(Written):
    """One calibrated point; exactly one of `error` and `correction`."""

    x: Qty | None = None
    error: Qty | None = None
    correction: Qty | None = None
    U: NotNegative
    k: Positive
    power_factor: PowerFactor | None = None
    phase: Label | None = None
    direction: Label | None = None

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if (self.error is None) == (self.correction is None):
            raise ValueError("needs exactly one of error and correction (correction = -error)")
        return self

    @property
    def stated(self) -> tuple[Literal["error", "correction"], Quantity]:
        """What the point states, and the error it means."""
        if self.error is not None:
            return "error", self.error
        if self.correction is not None:
            return "correction", Quantity(value=-self.correction.value, unit=self.correction.unit)
        raise ValueError("needs exactly one of error and correction")


class CertificateSpec(Written):
    """The result of one calibration or verification. One that names no phase tells the state it left."""

    id: Ident
    device: Ident
    channel: Ident | None = None
    kind: Literal["calibration", "verification"] = "calibration"
    phase: Phase = Phase.AS_LEFT
    performed_at: Moment
    valid_to: Moment | None = None
    interval_months: Count | None = None
    laboratory: AnyText | None = None
    x_is: Literal["reference", "indication"] | None = None
    points: list[PointSpec] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if self.valid_to is not None and self.interval_months is not None:
            raise ValueError("give valid_to or interval_months, not both")
        if self.interval_months is not None and not 1 <= self.interval_months <= 600:
            raise ValueError("interval_months must be 1 to 600")
        if self.points and self.channel is None:
            raise ValueError("points need the channel they were measured on")
        return self


class EventSpec(Written):
    """Something done to a device."""

    device: Ident
    time: Moment
    kind: EventKind
    note: AnyText = ""


Spec = DeviceSpec | CertificateSpec | EventSpec
W = TypeVar("W", bound=Written)
S_co = TypeVar("S_co", bound=Written, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[S_co]):
    """A spec and where it stands."""

    spec: S_co
    document: Document
    path: Path = ()

    def mistake(self, below: Path, message: str) -> Mistake:
        """Return a mistake at a key of this spec."""
        return self.document.mistake((*self.path, *below), message)

    @property
    def place(self) -> str:
        """`file:line` for messages about two places."""
        line = self.document.line(self.path)
        return self.document.file if line is None else f"{self.document.file}:{line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """What was read from some files: the sound specs, the mistakes, and the devices whose spec has one.

    `maimed`: what is left of entries with mistakes, looked at only so that their other mistakes are told too.
    """

    devices: tuple[Entry[DeviceSpec], ...] = ()
    certificates: tuple[Entry[CertificateSpec], ...] = ()
    events: tuple[Entry[EventSpec], ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    broken: frozenset[str] = frozenset()
    maimed: tuple[Entry[Any], ...] = ()

    @classmethod
    def of(cls, specs: Iterable[Spec], *, file: str = "registry") -> Specs:
        """Return specs that come from no text, such as those of the ledger."""
        known = list(specs)
        return cls(
            devices=tuple(stored(s, file) for s in known if isinstance(s, DeviceSpec)),
            certificates=tuple(stored(s, file) for s in known if isinstance(s, CertificateSpec)),
            events=tuple(stored(s, file) for s in known if isinstance(s, EventSpec)),
        )

    def __add__(self, other: Specs) -> Specs:
        return Specs(
            devices=self.devices + other.devices,
            certificates=self.certificates + other.certificates,
            events=self.events + other.events,
            mistakes=self.mistakes + other.mistakes,
            broken=self.broken | other.broken,
            maimed=self.maimed + other.maimed,
        )


def stored(spec: W, file: str = "registry") -> Entry[W]:
    """Return a spec that comes from no text, with words for its place."""
    match spec:
        case EventSpec():
            words = f"event {spec.device} {spec.time}"
        case CertificateSpec():
            words = f"certificate {spec.id}"
        case DeviceSpec():
            words = f"device {spec.id}"
        case _:
            raise TypeError(type(spec).__name__)
    return Entry(spec=spec, document=Document(file=file), path=(words,))
