"""`metergate devices`: the instruments and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.pipeline.plan import Plan
    from gateway.pipeline.state import States
    from gateway.registry.model import Registry

WITHIN = 30.0
"""Checks in which a change should be found: a month of daily ones."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="See the instruments and where they stand.")
    app.add_typer(group, name="devices", epilog="Example: metergate devices list")
    group.command("list", epilog="Example: metergate devices list --json")(list_devices)
    group.command("show", epilog="Example: metergate devices show scale-07")(show)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Centre:
    """The registry, and where its channels stand."""

    registry: Registry
    plan: Plan
    states: States
    alarms: Mapping[str, list[str]]
    suggested: Mapping[str, object]


def _centre(config: Path | None) -> _Centre:
    from gateway.app import look_into_ledger, registry_of, rule_packs, settings_of
    from gateway.design import widen
    from gateway.due import read_intervals, suggested_due
    from gateway.ledger.alarms import open_alarms
    from gateway.ledger.registry import designed
    from gateway.ledger.states import standing
    from gateway.pipeline.compiling import compile_plan
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
    suggested = suggested_due(registry, intervals, settings.zone)
    return _Centre(registry=registry, plan=plan, states=states, alarms=alarms, suggested=suggested)


def _standing(centre: _Centre, device: str) -> dict[str, object]:
    from gateway.pipeline.standing import device_state
    from gateway.pipeline.zeros import tracked_zeros

    plan, states = centre.plan, centre.states
    channels = plan.devices[device]
    state = device_state(plan, device, states, sorted(centre.alarms.get(device, [])))
    facts = plan.facts[channels[0]]
    about: dict[str, object] = {"device": device, "kind": facts.kind.value, "site": facts.site}
    about["channels"] = [f"{plan.facts[c].channel} ({plan.facts[c].unit})" for c in channels]
    checks = sum(int(states["checks"][c]) for c in channels)
    readings = sum(int(states["readings"][c]) for c in channels)
    tracked = {plan.facts[c].channel: told for c in channels if (told := tracked_zeros(plan, c, states[c]))}
    more = {"zero_tracking": tracked or None, "due_suggested": centre.suggested.get(device)}
    return about | {"readings": readings, "checks": checks} | state | more


def _detectable(centre: _Centre, device: str) -> list[dict[str, object]]:
    """Return what the charts of each channel can find."""
    from dataclasses import asdict

    from gateway.design import reach

    found = []
    for c in centre.plan.devices[device]:
        channel = centre.registry.devices[device].channels[centre.plan.facts[c].channel]
        epoch = centre.plan.epochs[centre.plan.first_epoch[c] + centre.plan.epoch_count[c] - 1]
        learned = float(centre.states["sigma"][c])
        of_channel = reach(channel, epoch.charts, learned if learned > 0.0 else None, WITHIN)
        if of_channel is not None:
            found.append(asdict(of_channel))
    return found


def list_devices(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """List all devices with their last verdict, margin to the MPE, drift and alarms."""
    centre = _centre(config)
    found = [_standing(centre, device) for device in centre.plan.devices]
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
    """Show one device, and the least step and drift that its charts find within 30 checks in the mean."""
    import difflib

    from gateway.errors import WrongUse

    centre = _centre(config)
    if device not in centre.plan.devices:
        near = difflib.get_close_matches(device, sorted(centre.plan.devices), n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see `metergate devices list`"
        raise WrongUse(f"no device {device}", remedy=remedy)
    found = _standing(centre, device)
    detectable = _detectable(centre, device)
    if json:
        write_json(found | {"detectable": detectable})
        return
    for name, value in found.items():
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
    for of_channel in detectable:
        write(f"{'detectable':16} {_in_words(of_channel)}")


def _in_words(found: Mapping[str, object]) -> str:
    step = f"a step of {found['shift']:.3g} σ"
    drift = f"a drift of {found['drift_per_check']:.3g} σ a check"
    if found["step"] is not None:
        step += f" ({found['step']:.3g} {found['unit']})"
    if found["drift_per_month"] is not None:
        drift += f" ({found['drift_per_month']:.3g} {found['unit']} a month)"
    return f"{found['channel']}: {step} or {drift} is found within {found['within_checks']:g} checks in the mean"
