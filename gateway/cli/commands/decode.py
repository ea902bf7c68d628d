"""`metergate decode`: how a payload is read, or why it is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from collectors.decoders import Address, Decoded, Profile
    from gateway.metrology.readings import Reading, Refusal

ENDLESS = 64 << 20
"""No payload is longer; of a device such as /dev/zero no more is read."""
EPILOG = "Example: metergate decode --topic metergate/reading/van-giang/scale-07/mass payload.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decode", epilog=EPILOG)(decode)


def decode(
    file: Annotated[Path | None, typer.Argument(help="The payload; standard input if left out, or -.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="What sends it: canonical, senml, or the name of a profile.")
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="The MQTT topic it arrived on.")] = None,
    json: JsonFlag = False,
) -> None:
    """Explain how a payload is read, or why it is refused. Needs no registry and no configuration."""
    from gateway.runtime.clock import now_ns

    payload = _payload(file)
    decoded = _read(payload, topic, _profiles(profile), profile, now_ns())
    if json:
        write_json({
            "readings": [shown(reading) for reading in decoded.readings],
            "refused": [
                {"record": r.record, "reason": r.reason.value, "detail": r.detail} for r in decoded.refused
            ],
            "notes": decoded.notes,
        })  # fmt: skip
    else:
        _tell(decoded)
    if decoded.refused:
        raise typer.Exit(1)


def _payload(file: Path | None) -> bytes:
    if file is None or str(file) == "-":
        return sys.stdin.buffer.read(ENDLESS)
    with file.open("rb") as source:
        return source.read(ENDLESS)


def _profiles(wanted: str | None) -> dict[str, Profile]:
    """Return the profiles this place has: shipped ones, and those of `config/profiles` under the working directory."""
    from collectors.profiles import read_profiles
    from gateway.errors import WrongUse
    from gateway.shipped import shipped_texts

    profiles = read_profiles(shipped_texts("profiles"), [Path("config/profiles")])
    if wanted is not None and wanted not in profiles:
        raise WrongUse(f"there is no profile {wanted!r}", remedy=f"known are {', '.join(sorted(profiles))}")
    return profiles


def _read(
    payload: bytes, topic: str | None, profiles: Mapping[str, Profile], wanted: str | None, received_at: int
) -> Decoded:
    """Return what the payload says on a topic, or alone; a topic that cannot be used is a refusal."""
    from collectors.decoders import NOWHERE, Decoded, find
    from collectors.decoders.strictjson import UnreadableError
    from gateway.metrology.readings import Refusal

    try:
        name, address = ("canonical", NOWHERE) if topic is None else _from_topic(topic, profiles, wanted)
    except UnreadableError as error:
        return Decoded(refused=[Refusal(reason=error.why, detail=error.detail)])
    profile = profiles[wanted or name]
    decoder = find(profile.decoder)
    if decoder is None:
        raise LookupError(f"the profile {profile.name} was accepted with no decoder")
    decoded = decoder.decode(payload, address, 0, profile, received_at)
    readings, refused, odd = _in_their_dimension(decoded.readings)
    notes = [f"read as {profile.name}", *_about(address, topic), *decoded.notes, *odd]
    notes += _odd_times(decoded.readings, received_at)
    return Decoded(readings=readings, refused=[*decoded.refused, *refused], notes=notes)


def _in_their_dimension(readings: Sequence[Reading]) -> tuple[list[Reading], list[Refusal], list[str]]:
    """Return the readings whose unit is of their well-known channel's dimension, the refused ones, and remarks."""
    from gateway.metrology.readings import Refusal, Why
    from gateway.metrology.units import CHANNEL_DIMENSIONS, UnitError, dimension_for

    fitting: list[Reading] = []
    refused: list[Refusal] = []
    odd: dict[str, None] = {}
    for r in readings:
        try:
            dimension_for("", r.channel, r.unit)
        except UnitError as error:
            if r.channel in CHANNEL_DIMENSIONS:
                refused.append(Refusal(reason=Why(error.why), detail=str(error), record=r.record, channel=r.channel))
                continue
            odd[f"{error}: only a device of kind other or reference can have a channel in it"] = None
        fitting.append(r)
    return fitting, refused, list(odd)


def _from_topic(topic: str, profiles: Mapping[str, Profile], wanted: str | None) -> tuple[str, Address]:
    """Return the profile a topic chooses and who speaks on it; UnreadableError when it fits none."""
    from collectors.decoders import Address
    from collectors.decoders.strictjson import UnreadableError, shorten
    from collectors.topics import READINGS, Template, is_topic, parse_canonical
    from gateway.metrology.readings import Why

    if topic == READINGS or topic.startswith(READINGS + "/"):
        return "canonical", parse_canonical(topic)
    if not is_topic(topic):
        raise UnreadableError(Why.BAD_TOPIC, f'"{shorten(topic)}" is no topic a message can arrive on')
    for name in [wanted] if wanted else sorted(profiles):
        for template in profiles[name].topics:
            address = Template.parse(template).match(topic)
            if address is not None:
                return name, Address(site=address.site, device=address.device or "", channel=address.channel or "")
    if wanted is None:
        raise UnreadableError(
            Why.UNKNOWN_PROFILE, f'no profile reads the topic "{shorten(topic)}"; name one with --profile'
        )
    return wanted, Address(device="", channel="")


def _about(address: Address, topic: str | None) -> list[str]:
    if topic is None:
        return ["no topic was given: site, device and channel are only what the payload says"]
    if not address.device:
        return [f'the topic "{topic}" names no device; map it in gateway.yaml with {{device}}']
    where = f"device {address.device}" + (f" of site {address.site}" if address.site else "")
    return [f"{where}: as the topic says; whether they are known here was not looked up"]


def _odd_times(readings: Sequence[Reading], received_at: int) -> list[str]:
    """Say when times look like seconds that were sent as milliseconds, or lie ahead."""
    odd = []
    if any(reading.time < 365 * 86400 * 10**9 for reading in readings):
        odd.append("a time lies in 1970: epoch seconds sent where milliseconds are meant?")
    newest = max((reading.time for reading in readings), default=received_at)
    if newest > received_at and _is_refused_ahead(newest - received_at):
        odd.append("a time lies more than 5 min ahead: a gateway would quarantine it now as future_time")
    return odd


def _is_refused_ahead(ns: int) -> bool:
    from gateway.pipeline.intake import FUTURE_NS

    return ns > FUTURE_NS


def shown(reading: Reading) -> dict[str, object]:
    """Return a reading with the fields it has, as the contract names and writes them."""
    from collectors.decoders.records import power_factor_text
    from gateway.metrology.instants import format_instant
    from gateway.metrology.readings import READING_FIELDS

    values: dict[str, object] = {name: getattr(reading, name) for name in READING_FIELDS}
    values["time"] = format_instant(reading.time)
    values["device"], values["channel"] = reading.device or None, reading.channel or None
    if reading.power_factor is not None:
        values["power_factor"] = power_factor_text(reading.power_factor)
    return {name: value for name, value in values.items() if value is not None}


def _tell(decoded: Decoded) -> None:
    """Say to a person what was read, what was refused, and what there is to know."""
    from collectors.decoders.strictjson import shorten

    for remark in decoded.notes:
        note(f"note: {remark}")
    if decoded.readings:
        rows = [shown(reading) for reading in decoded.readings]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[row.get(name) for name in columns] for row in rows]
        write_table(columns, [[shorten(c) if isinstance(c, str) else c for c in row] for row in cells])
    for refusal in decoded.refused:
        place = "" if refusal.record is None else f"record {refusal.record}: "
        write(f"refused: {place}{refusal.reason.value}: {refusal.detail}")
