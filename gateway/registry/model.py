"""What is known of the instruments: devices, channels, certificates and events, as resolved values (CONTRACTS §2).

Everything here is checked, typed and in fixed units: quantities of a channel in its own unit, errors in its error
unit (`%` for a relative channel, else the channel's unit), the axis in the channel's unit, m³/h (flow) or A (current).
Exact numbers are Decimal; instants and durations are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

__all__ = [
    "Axis", "Center", "Certificate", "Channel", "ChannelType", "Decision", "Device", "DriftSettings", "ErrorKind",
    "Event", "EventKind", "Influence", "Kind", "Phase", "Point", "Registry",
]  # fmt: skip


class Kind(StrEnum):
    """The kind of instrument."""

    WEIGHING = "weighing"
    ELECTRICITY = "electricity"
    WATER = "water"
    GAS = "gas"
    FUEL = "fuel"
    REFERENCE = "reference"
    OTHER = "other"


class ChannelType(StrEnum):
    """A momentary value, a cumulative count, or an amount between start and stop."""

    INDICATION = "indication"
    REGISTER = "register"
    RUN = "run"


class ErrorKind(StrEnum):
    """Error as I - R, or as 100 (I - R)/R %."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class Axis(StrEnum):
    """What x of the baseline is."""

    REFERENCE = "reference"
    INDICATION = "indication"
    FLOW = "flow"
    CURRENT = "current"


class Influence(StrEnum):
    """A condition of a check that its error may follow; charts are made of what is left."""

    TEMPERATURE = "temperature_C"
    FLOW = "flow_m3h"
    CURRENT = "current_A"
    X = "x"


class Center(StrEnum):
    """Where z has its zero."""

    AUTO = "auto"
    CERTIFICATE = "certificate"
    LEARNED = "learned"


class Decision(StrEnum):
    """The decision rule (JCGM 106, ILAC-G8)."""

    SIMPLE = "simple"
    GUARDED = "guarded"
    NON_BINARY = "non_binary"


class Phase(StrEnum):
    """State of the instrument a certificate speaks of."""

    AS_FOUND = "as_found"
    AS_LEFT = "as_left"


class EventKind(StrEnum):
    """What opens a new segment."""

    ADJUSTMENT = "adjustment"
    REPAIR = "repair"
    SEAL_BROKEN = "seal_broken"
    FIRMWARE = "firmware"
    METER_EXCHANGE = "meter_exchange"
    RETIRED = "retired"


DriftSettings = Mapping[str, Mapping[str, float]]
"""Chart name -> its parameters by their contract names, e.g. {"ewma": {"lambda": 0.2, "L": 2.962}}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One quantity a device reports. `sigma` is in the error unit; `resolution` and `range` in `unit`.

    `stuck_n` identical readings in a row, or identical for `stuck_ns`, mean a stuck signal. `subgroup_n` checks, or
    those of `subgroup_ns`, are charted as one mean. `drift` None means all charts with designed limits. What of the
    error follows `influences` is learned with the centre and not charted.
    """

    name: str
    unit: str
    type: ChannelType = ChannelType.INDICATION
    error: ErrorKind = ErrorKind.ABSOLUTE
    axis: Axis = Axis.REFERENCE
    sigma: Decimal | None = None
    resolution: Decimal = Decimal(0)
    center: Center = Center.AUTO
    learn: int = 30
    subgroup_n: int = 1
    subgroup_ns: int | None = None
    every_ns: int | None = None
    timeout_ns: int | None = None
    range: tuple[Decimal, Decimal] | None = None
    stuck_n: int | None = None
    stuck_ns: int | None = None
    standard: str | None = None
    digits: int | None = None
    multiplier: Decimal = Decimal(1)
    drift: DriftSettings | None = None
    influences: tuple[Influence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One instrument. `rule_pack` None means no legal limit; `parameters` keep the text the person wrote."""

    id: str
    kind: Kind
    site: str | None
    serial: str | None
    name: str | None
    rule_pack: str | None
    parameters: Mapping[str, str]
    in_service: bool
    decision: Decision
    channels: Mapping[str, Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One calibrated point: x in the axis unit (None: holds everywhere), error and expanded U in the error unit."""

    x: Decimal | None
    error: Decimal
    U: Decimal
    k: Decimal
    power_factor: float | None = None
    phase: str | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The result of one calibration or verification; never changed. `channel` None: only the due date counts."""

    id: str
    device: str
    channel: str | None
    kind: str
    phase: Phase
    performed_at: int
    valid_to: int | None
    laboratory: str | None
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something done to a device; opens a new segment."""

    device: str
    time: int
    kind: EventKind
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Everything known, resolved. Certificates and events are in time order."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()
    events: tuple[Event, ...] = ()
