"""`metergate alarms`: list, acknowledge, shelve, clear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ByOption, ConfigOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alarms.life import Alarm, Happening


def _said(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why")
    return reason


Reason = Annotated[str, typer.Option("--reason", "-r", callback=_said, help="Why; kept with the alarm.")]
AlarmId = Annotated[str, typer.Argument(help="Alarm id, as `alarms list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="List alarms and handle them.")
    app.add_typer(group, name="alarms", epilog="Example: metergate alarms list")
    group.command("list", epilog="Example: metergate alarms list --all --json")(list_alarms)
    group.command("ack", epilog='Example: metergate alarms ack drift-075f14bc0774 --reason "seen, weights ordered"')(
        ack
    )
    group.command("shelve", epilog='Example: metergate alarms shelve stuck-1b2c3d4e5f60 --for 7d --reason "repair"')(
        shelve
    )
    group.command("clear", epilog='Example: metergate alarms clear gap-1b2c3d4e5f60 --reason "router replaced"')(clear)


def list_alarms(
    every: Annotated[bool, typer.Option("--all", help="Closed alarms too.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """List open alarms, the gravest first."""
    from gateway.app import look_into_ledger, need_device
    from gateway.ledger import alarms
    from gateway.metrology.instants import format_instant
    from gateway.runtime.clock import now_ns

    at = now_ns()
    with look_into_ledger(config) as ledger:
        found = alarms.find(ledger.connection, only_open=not every, device=device)
        if not found:
            need_device(ledger, device)
    if json:
        write_json([_record(a, at) for a in found])
        return
    rows = [
        (a.id, a.severity.text, _state(a, at), a.kind.value, a.device, format_instant(a.raised_at), a.text)
        for a in found
    ]
    write_table(("alarm", "severity", "state", "kind", "device", "raised", "what"), rows, empty="no open alarms")


def _state(alarm: Alarm, at: int) -> str:
    from gateway.alarms.life import state_of

    return state_of(alarm, at).value


def _record(alarm: Alarm, at: int) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    def moment(ns: int | None) -> str | None:
        return None if ns is None else format_instant(ns)

    return {
        "alarm": alarm.id,
        "site": alarm.site,
        "device": alarm.device,
        "channel": alarm.channel,
        "kind": alarm.kind.value,
        "severity": alarm.severity.text,
        "state": _state(alarm, at),
        "raised_at": moment(alarm.raised_at),
        "changed_at": moment(alarm.changed_at),
        "cleared_at": moment(alarm.cleared_at),
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_reason": alarm.acknowledged_reason,
        "shelved_until": moment(alarm.shelved_until),
        "reason": alarm.reason,
        "evidence": dict(alarm.evidence),
        "text": alarm.text,
    }


def ack(
    alarm: AlarmId, reason: Reason, by: ByOption = None, config: ConfigOption = None, json: JsonFlag = False
) -> None:
    """Acknowledge an alarm: a person has seen it."""
    from gateway.alarms.life import acknowledge

    _handle(alarm, config, json, lambda a, at: acknowledge(a, at, _who(by), reason))


def shelve(
    alarm: AlarmId,
    reason: Reason,
    how_long: Annotated[str, typer.Option("--for", help="How long, such as 8h or 7d.")] = "24h",
    by: ByOption = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Take an alarm out of sight for a while; it comes back by itself."""
    from gateway.alarms.life import shelve as put_aside
    from gateway.errors import WrongUse
    from gateway.metrology.instants import parse_duration

    try:
        length = parse_duration(how_long)
    except ValueError as error:
        raise WrongUse(f"--for {how_long}: {error}", remedy="write it as 8h or 7d") from None
    _handle(alarm, config, json, lambda a, at: put_aside(a, at, at + length, _who(by), reason))


def clear(
    alarm: AlarmId, reason: Reason, by: ByOption = None, config: ConfigOption = None, json: JsonFlag = False
) -> None:
    """Close an alarm. If its condition still stands, the next reading raises a new one."""
    from gateway.alarms.life import clear as close

    _handle(alarm, config, json, lambda a, at: close(a, at, _who(by), reason))


def _who(by: str | None) -> str:
    import getpass

    return by or getpass.getuser()


def _handle(name: str, config: Path | None, json: bool, change: Callable[[Alarm, int], Happening]) -> None:
    from gateway.app import open_ledger
    from gateway.errors import Refused, WrongUse
    from gateway.ledger import alarms
    from gateway.runtime.clock import now_ns

    at = now_ns()
    with open_ledger(config) as ledger, ledger.transaction() as connection:
        found = alarms.find(connection, only_open=False, alarm=name)
        if not found:
            raise WrongUse(f"no alarm {name}", remedy="see `metergate alarms list`")
        if found[0].cleared_at is not None:
            raise Refused(f"alarm {name} is closed already", remedy="see `metergate alarms list --all`")
        happening = change(found[0], at)
        alarms.put(connection, [happening])
    if json:
        write_json(_record(happening.alarm, at))
    else:
        write(f"{name} {happening.transition.value}")
