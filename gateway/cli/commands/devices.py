"""`metergate devices`: the instruments and where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from pathlib import Path


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="See the instruments and where they stand.")
    app.add_typer(group, name="devices", epilog="Example: metergate devices list")
    group.command("list", epilog="Example: metergate devices list --json")(list_devices)
    group.command("show", epilog="Example: metergate devices show scale-07")(show)


def _standing(config: Path | None) -> list[dict[str, object]]:
    from gateway.app import look_into_ledger, registry_of, rule_packs, settings_of
    from gateway.design import widen
    from gateway.due import read_intervals, suggested_due
    from gateway.ledger.alarms import open_alarms
    from gateway.ledger.registry import designed
    from gateway.ledger.states import standing
    from gateway.pipeline.plan import compile_plan
    from gateway.pipeline.standing import device_state
    from gateway.pipeline.zeros import tracked_zeros
    from gateway.settings import config_folder

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    intervals = read_intervals(config_folder(config) / "rulepacks" / "intervals", settings.zone)
    with look_into_ledger(config) as ledger:
        registry = registry_of(ledger, settings, packs)
        plan = compile_plan(registry, packs, designed(ledger.connection), widen, settings.site)
        with ledger.transaction() as connection:
            states = standing(connection, plan).states
        alarms: dict[str, list[str]] = {}
        for device, _, kind in open_alarms(ledger.connection):
            alarms.setdefault(device, []).append(kind.value)
    by_law = suggested_due(registry, intervals, settings.zone)
    found = []
    for device, channels in plan.devices.items():
        state = device_state(plan, device, states, sorted(alarms.get(device, [])))
        facts = plan.facts[channels[0]]
        about: dict[str, object] = {"device": device, "kind": facts.kind.value, "site": facts.site}
        about["channels"] = [f"{plan.facts[c].channel} ({plan.facts[c].unit})" for c in channels]
        checks = sum(int(states["checks"][c]) for c in channels)
        readings = sum(int(states["readings"][c]) for c in channels)
        tracked = {plan.facts[c].channel: told for c in channels if (told := tracked_zeros(plan, c, states[c]))}
        more = {"zero_tracking": tracked or None, "due_suggested": by_law.get(device)}
        found.append(about | {"readings": readings, "checks": checks} | state | more)
    return found


def list_devices(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """List all devices with their last verdict, margin to the MPE, drift and alarms."""
    found = _standing(config)
    if json:
        write_json(found)
        return
    rows = []
    for d in found:
        channels, alarms, margin = d["channels"], d["alarms"], d["margin_percent"]
        rows.append(
            (
                d["device"], d["kind"], ", ".join(channels) if isinstance(channels, list) else "", d["readings"],
                d["checks"], d["verdict"], f"{margin:.1f}" if isinstance(margin, float) else None, d["drift"],
                ", ".join(alarms) if isinstance(alarms, list) and alarms else None, d["time"], _due(d),
            )
        )  # fmt: skip
    head = ("device", "kind", "channels", "readings", "checks", "verdict", "margin %", "drift", "alarms", "last", "due")
    write_table(head, rows, empty="no devices; add some with `metergate apply config/devices`")


def _due(device: dict[str, object]) -> object:
    """Return the due date of a certificate, else the one suggested by law with a ~ before it."""
    suggested = device["due_suggested"]
    return f"~{suggested['due']}" if device["due"] is None and isinstance(suggested, dict) else device["due"]


def show(
    device: Annotated[str, typer.Argument(help="Device id.")], config: ConfigOption = None, json: JsonFlag = False
) -> None:
    """Show one device."""
    import difflib

    from gateway.errors import WrongUse

    found = {str(d["device"]): d for d in _standing(config)}
    if device not in found:
        near = difflib.get_close_matches(device, sorted(found), n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see `metergate devices list`"
        raise WrongUse(f"no device {device}", remedy=remedy)
    if json:
        write_json(found[device])
        return
    for name, value in found[device].items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if name == "due_suggested" and isinstance(value, dict):
            text = f"{value['due']}: {value['months']} months by {value['source']} ({value['status']})"
        elif name == "zero_tracking" and isinstance(value, dict):
            text = "; ".join(
                f"suspected on {channel}: all {told['zero_checks']} zero checks read 0 (chance {told['chance']:.1g}) "
                "and tell nothing; check it with a load"
                for channel, told in value.items()
            )
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {fact}" for key, fact in value.items() if fact is not None)
        write(f"{name:16} {'-' if text is None or text == '' else text}")
