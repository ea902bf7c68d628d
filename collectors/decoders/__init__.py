"""Decoders read payloads: one file per format, each with its examples, found by walking this folder.

A decoder is a module with `NAME`, `EXAMPLES` and `decode`. It is pure, never raises whatever the bytes are, and never
returns half a reading: what it cannot read is a `Refusal` with one of the closed reasons, alone when it came in a pack.
It may have `decode_together` as well, which reads many messages at once where that is quicker and says the same.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, cast
from zoneinfo import ZoneInfo

import msgspec

from gateway.metrology.readings import Reading, Refusal

__all__ = [
    "NOWHERE", "Address", "DecodeTogether", "Decoded", "Decoder", "Example", "Found", "Profile", "Quantity",
    "TimeField", "every", "find",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Who sent a message, as far as its topic says so.

    A part that is None must be in the payload; an empty part is unknown and need not be (a payload looked at alone).
    """

    site: str | None = None
    device: str | None = None
    channel: str | None = None


NOWHERE = Address(device="", channel="")
"""No topic is known: the payload may say who speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeField:
    """Where a profile finds the time: `format` is rfc3339, local, epoch_s or epoch_ms.

    A local time that no timezone is named for is refused, or with `or_receipt` replaced by the receipt.
    """

    path: str
    format: str
    or_receipt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One channel of a profile: the paths it may stand at (the first found counts) and its unit.

    `per` is a number, or the path of one, by which the value is divided: pulses by the meter's constant. `fields`
    leads from other fields of a reading (`value_start`, `reference`, ...) to their paths.
    """

    paths: tuple[str, ...]
    unit: str
    type: str = "indication"
    per: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a model of device sends, as data (config/profiles/NAME.yaml).

    `topics` are templates the model uses by itself. `wrappers` are keys that may enclose the whole message. `ignore`
    are payload texts that hold no readings (`Online`). `seq_per_device`: one `seq` counts all channels together.
    """

    name: str
    decoder: str
    title: str = ""
    source: str = ""
    topics: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time: TimeField | None = None
    timezone: ZoneInfo | None = None
    seq_per_device: bool = False
    quantities: Mapping[str, Quantity] = field(default_factory=dict)


class Decoded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one message said: readings, refusals of records (or of the whole message), and remarks for a person."""

    readings: Sequence[Reading] = []
    refused: list[Refusal] = []
    notes: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One reading an example must give; `time` None where it depends on the receipt."""

    channel: str
    value: float
    unit: str
    time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A payload on a topic, what it must give, and the reasons (in record order) of what it must refuse."""

    title: str
    payload: bytes
    address: Address
    readings: Sequence[Found] = ()
    refused: Sequence[str] = ()
    profile: Profile | None = None


class Decoder(Protocol):
    """A module of this folder."""

    NAME: str
    EXAMPLES: Sequence[Example]

    def decode(
        self, payload: bytes, address: Address, source: int, profile: Profile | None, received_at: int
    ) -> Decoded:
        """Read one payload. `source` is the message's index in its batch, `received_at` its receipt in ns."""
        ...


class DecodeTogether(Protocol):
    """What a decoder may have beside `decode`."""

    def __call__(self, payloads: Sequence[bytes], addresses: Sequence[Address], first: int) -> Sequence[Reading] | None:
        """Return the one reading of each payload as `decode` does, without a profile, `source` counted from `first`.

        None where that is not certain of every one of them.
        """
        ...


@cache
def every() -> Mapping[str, Decoder]:
    """Return all decoders by name; a module of this folder is one if it has `decode`."""
    found: dict[str, Decoder] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        if hasattr(module, "decode"):
            decoder = cast("Decoder", module)
            if decoder.NAME in found:
                raise ImportError(f"two decoders are named {decoder.NAME}")
            found[decoder.NAME] = decoder
    return found


def find(name: str) -> Decoder | None:
    """Return the decoder with this name, None when there is none."""
    return every().get(name)
