"""`metergate rule-packs`: the legal limits known, as they are for one instrument, and files of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.metrology.limits import Interval
    from gateway.metrology.rulepacks import RulePack, RulePacks

SHOW = 'Example: metergate rule-packs show oiml-r76 -p class=III -p "max=15 kg" -p "e=5 g" -p "d=5 g" --unit kg'


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="See the legal limits known, and check files of your own.")
    app.add_typer(group, name="rule-packs", epilog="Example: metergate rule-packs list")
    group.command("list", epilog="Example: metergate rule-packs list --json")(list_packs)
    group.command("show", epilog=SHOW)(show)
    group.command("check", epilog="Example: metergate rule-packs check config/rulepacks/mine.yaml")(check)


def _day(at: int | None, config: Path | None) -> str | None:
    from datetime import UTC, datetime, timedelta

    from gateway.app import settings_of

    if at is None:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at // 10**9)
    return moment.astimezone(settings_of(config).zone).date().isoformat()


def _about(pack: RulePack, config: Path | None) -> dict[str, object]:
    initial = all(row.verified for row in pack.rows) and (pack.at_least is None or pack.at_least_verified)
    return {
        "id": pack.id,
        "version": pack.version,
        "title": pack.title,
        "status": "verified" if pack.verified else "unverified",
        "initial_status": "verified" if initial else "unverified",
        "in_service_status": "verified" if initial and pack.in_service_verified else "unverified",
        "verified_limits": sum(row.verified for row in pack.rows),
        "limits": len(pack.rows),
        "effective_from": _day(pack.effective_from, config),
        "effective_to": _day(pack.effective_to, config),
        "applies_to": pack.dimension,
        "parameters": {p.name: list(p.values) or p.dimension or "number" for p in pack.parameters.values()},
        "in_service_factor": float(pack.in_service_factor),
        "source": pack.source,
        "file": pack.file,
        "own": Path(pack.file).name != pack.file,
        "digest": pack.digest,
    }


def list_packs(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """List every version of every rule pack; a site's own ones replace the shipped ones."""
    from gateway.app import rule_packs, settings_of

    found = [_about(pack, config) for pack in rule_packs(config, settings_of(config))]
    if json:
        write_json(found)
        return
    rows = [
        (
            f"{p['id']}@{p['version']}", p["initial_status"], p["in_service_status"],
            f"{p['verified_limits']}/{p['limits']}", p["effective_from"], p["effective_to"],
            "own" if p["own"] else "shipped", p["title"],
        )
        for p in found
    ]  # fmt: skip
    write_table(("pack", "initial", "in service", "verified", "from", "to", "from whom", "title"), rows)


def show(
    name: Annotated[str | None, typer.Argument(help="Pack id, or id@version; without it that of --device.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="key=value, repeated.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="With the parameters of this device.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Unit of the channel; default that of the device.")] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Show a pack with its source, and with parameters the limits they give, initial and in service."""
    from gateway.app import open_ledger, registry_of, rule_packs, settings_of
    from gateway.errors import WrongUse

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    given = _given(parameter or [])
    if device is not None:
        with open_ledger(config) as ledger:
            known = registry_of(ledger, settings, packs).devices.get(device)
        if known is None:
            raise WrongUse(f"no device {device}", remedy="see `metergate devices list`")
        if known.rule_pack is None:
            raise WrongUse(f"{device} has no rule pack", remedy="give one in its registry file")
        name, given = name or known.rule_pack, {**known.parameters, **given}
        unit = unit or next(iter(known.channels.values())).unit
    if name is None:
        raise WrongUse("which pack?", remedy="name one of `metergate rule-packs list`, or give --device")
    pack = _find(packs, name)
    document = _about(pack, config) | {"tables": _tables(pack, given, unit) if given else None}
    if json:
        write_json(document)
    else:
        _print(document)


def _given(pairs: Sequence[str]) -> dict[str, str]:
    from gateway.errors import WrongUse

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongUse(f"-p {pair} is not key=value", remedy='write -p "max=15 kg"')
        found[key.strip()] = value.strip()
    return found


def _find(packs: RulePacks, name: str) -> RulePack:
    import difflib

    from gateway.errors import WrongUse

    wanted, _, version = name.partition("@")
    versions = packs.packs.get(wanted, ())
    for pack in reversed(versions):
        if version in {"", pack.version}:
            return pack
    near = difflib.get_close_matches(wanted, packs.ids, n=3)
    remedy = f"did you mean {' or '.join(near)}?" if near and not versions else "see `metergate rule-packs list`"
    raise WrongUse(f"no rule pack {name}", remedy=remedy)


UNITS = {"mass": "kg", "energy": "kWh", "volume": "m³"}


def _tables(pack: RulePack, given: Mapping[str, str], unit: str | None) -> dict[str, list[dict[str, object]]]:
    """Return the limits of both kinds, row by row, edges in the unit of the argument."""
    from gateway.errors import WrongUse
    from gateway.metrology.readings import power_factor_text

    wrong = pack.validate(given)
    if wrong:
        raise WrongUse(f"{pack.reference}: {'; '.join(wrong)}", remedy="give what the pack takes with -p key=value")
    unit = unit or UNITS.get(pack.dimension, "")
    found: dict[str, list[dict[str, object]]] = {}
    for kind, in_service in (("initial", False), ("in_service", True)):
        limits = pack.limits(given, in_service=in_service, unit=unit, error="absolute")
        if limits is None:
            raise WrongUse(f"{pack.reference} does not speak of {unit}", remedy=f"give --unit of {pack.dimension}")
        rows: list[dict[str, object]] = []
        for band in limits.bands:
            factors = band.power_factors
            named = None
            if factors is not None:
                shown = factors.exactly or tuple(f for f in (factors.inductive, factors.capacitive) if f is not None)
                named = (", " if factors.exactly else " .. ").join(str(power_factor_text(f)) for f in shown)
            per = f" x 1/{pack.symbol}" if band.power else ""
            rows.append(
                {
                    "at": _interval(band.at),
                    "argument_unit": {"flow": "m³/h", "current": "A"}.get(pack.argument.value, unit),
                    "mpe": f"{float(band.mpe):g} {'%' if band.relative else unit}{per}",
                    "power_factor": named,
                    "single_phase": band.single_phase,
                    "temperature_C": None if band.temperature is None else _interval(band.temperature),
                }
            )
        if limits.floor is not None:
            rows.append({"at": "everywhere", "argument_unit": None, "mpe": f"at least {float(limits.floor):g} {unit}"})
        found[kind] = rows
    return found


def _interval(at: Interval) -> str:
    opened, closed = "[" if at.low_closed else "(", "]" if at.high_closed else ")"
    return f"{opened}{at.low:.10g}, {at.high:.10g}{closed}"


def _print(document: Mapping[str, object]) -> None:
    tables = document["tables"]
    for key, value in document.items():
        if key == "tables":
            continue
        text = ", ".join(f"{k} ({_words(v)})" for k, v in value.items()) if isinstance(value, dict) else value
        write(f"{key:18} {'-' if text is None else text}")
    for kind, rows in tables.items() if isinstance(tables, dict) else ():
        write()
        write(f"limits {kind.replace('_', ' ')}:")
        columns = ("at", "argument_unit", "mpe", "power_factor", "single_phase", "temperature_C")
        write_table(columns, [[row.get(c) for c in columns] for row in rows])


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def check(
    files: Annotated[list[Path], typer.Argument(help="Rule pack files.")],
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Check rule packs of one's own: units, gaps, overlaps, order; every mistake with its line, exit 2."""
    from gateway.app import settings_of
    from gateway.errors import Mistake, Mistakes
    from gateway.metrology.rulepacks import catalogue
    from gateway.registry.textfile import read_text

    zone = settings_of(config).zone
    texts, mistakes = [], []
    for file in files:
        text = read_text(file)
        if isinstance(text, Mistake):
            mistakes.append(text)
        else:
            texts.append((str(file), text))
    if mistakes:
        raise Mistakes(mistakes)
    packs = list(catalogue(texts, zone=zone))
    if json:
        write_json([_about(pack, config) for pack in packs])
        return
    for pack in packs:
        verified = sum(row.verified for row in pack.rows)
        write(f"{pack.file}: {pack.reference}: {len(pack.rows)} limits, {verified} of them verified; no mistakes")
