"""Canonical JSON: one object or an array of them, with the fields of a reading (CONTRACTS §3) and the time as `ts`.

    {"ts": 1772409600000, "value": 10.012, "unit": "kg", "reference": 10, "seq": 17, "boot": "a3"}

`ts` is RFC 3339 text with an offset, or epoch milliseconds. An array of SenML records (RFC 8428) is read as such.
Records are read by msgspec where that is exact, and field by field, with reasons, where it is not; both always agree.
"""

from __future__ import annotations

from collectors.decoders import Address, Decoded, Example, Found, Profile, senml
from collectors.decoders.quick import quick_objects, quick_readings
from collectors.decoders.records import MAX_RECORDS, ON_MQTT, read_record, refuse
from collectors.decoders.strictjson import UnreadableError, Value, elements, parse
from gateway.metrology.readings import Reading, Refusal

__all__ = ["EXAMPLES", "NAME", "decode", "decode_together"]

NAME = "canonical"

_HINTED = 10
"""After so many refused records of a pack, unknown fields are no longer compared with the known ones."""


def decode(payload: bytes, address: Address, source: int, profile: Profile | None, received_at: int) -> Decoded:  # noqa: ARG001
    """Read one record, a pack of records or a SenML pack."""
    readings = quick_readings(payload, address, source)
    if readings is not None:
        return Decoded(readings=readings)
    try:
        pack = elements(payload, limit=MAX_RECORDS)
        if pack is None:
            return Decoded(readings=[read_record(parse(payload), address, ON_MQTT, source=source)])
    except UnreadableError as error:
        return Decoded(refused=[refuse(error, address, source=source)])
    if senml.is_pack([value for value, _ in pack]):
        return senml.resolve(pack, address, source, received_at)
    return _slow(pack, address, source)


def _slow(pack: list[tuple[Value, bytes]], address: Address, source: int) -> Decoded:
    """Read the records of a pack one by one; what is bad goes alone."""
    readings: list[Reading] = []
    refused: list[Refusal] = []
    for record, (value, raw) in enumerate(pack):
        quick = quick_readings(raw, address, source, record)
        if quick is not None:
            readings += quick
            continue
        try:
            hints = len(refused) < _HINTED
            readings.append(read_record(value, address, ON_MQTT, source=source, record=record, hints=hints))
        except UnreadableError as error:
            refused.append(refuse(error, address, source=source, record=record, raw=raw))
    return Decoded(readings=readings, refused=refused)


decode_together = quick_objects


_SCALE = Address(site="van-giang", device="scale-07", channel="mass")
_AT = 1772409600 * 10**9

EXAMPLES = (
    Example(
        title="a check: the indication of a known weight",
        payload=b'{"ts":"2026-03-02T07:00:00+07:00","value":10.012,"unit":"kg","reference":10,"seq":17,"boot":"a3"}',
        address=_SCALE,
        readings=(Found(channel="mass", value=10.012, unit="kg", time=_AT),),
    ),
    Example(
        title="a pack: the record with the misspelt field is refused alone",
        payload=b'[{"ts":1772409600000,"value":5,"unit":"kg"},{"ts":1772409601000,"value":5,"unit":"kg","referense":5}]',
        address=_SCALE,
        readings=(Found(channel="mass", value=5.0, unit="kg", time=_AT),),
        refused=("unknown_field",),
    ),
    Example(
        title="a number that is text",
        payload=b'{"ts":1772409600000,"value":"21.5","unit":"kg"}',
        address=_SCALE,
        refused=("wrong_type",),
    ),
    Example(title="an empty message", payload=b"", address=_SCALE, refused=("not_json",)),
)
