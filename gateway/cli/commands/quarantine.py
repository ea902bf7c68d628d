"""`metergate quarantine`: what could not become a reading, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ByOption, ConfigOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ledger.quarantine import Quarantined

Entries = Annotated[list[int], typer.Argument(help="Entry numbers, as `quarantine list` shows them.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="See what was refused and why; approve or reject it.")
    app.add_typer(group, name="quarantine", epilog="Example: metergate quarantine list")
    group.command("list", epilog="Example: metergate quarantine list --reason unknown_device")(list_entries)
    group.command("show", epilog="Example: metergate quarantine show 12")(show)
    group.command("approve", epilog="Example: metergate quarantine approve 12 13")(approve)
    group.command("reject", epilog="Example: metergate quarantine reject 12")(reject)


def list_entries(
    reason: Annotated[str | None, typer.Option("--reason", help="Only this reason.")] = None,
    state: Annotated[str, typer.Option("--state", help="open, approved, released, rejected or all.")] = "open",
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """List the inbox, oldest first."""
    from gateway.app import look_into_ledger
    from gateway.ledger import quarantine
    from gateway.metrology.instants import format_instant
    from gateway.metrology.readings import Why

    _one_of("--state", state, ("open", "approved", "released", "rejected", "all"))
    if reason is not None:
        _one_of("--reason", reason, [why.value for why in Why])
    with look_into_ledger(config) as ledger:
        found = quarantine.entries(ledger.connection, state=None if state == "all" else state, reason=reason)
    if json:
        write_json([_record(e) for e in found])
        return
    rows = [(e.id, format_instant(e.received_at), e.reason, e.state, e.topic, e.detail) for e in found]
    write_table(("entry", "received", "reason", "state", "topic", "detail"), rows, empty="the inbox is empty")


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    from gateway.errors import WrongUse

    if value not in known:
        raise WrongUse(f"{option} {value} is not known", remedy=f"use one of {', '.join(known)}")


def _record(entry: Quarantined) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    return {
        "entry": entry.id,
        "received_at": format_instant(entry.received_at),
        "topic": entry.topic,
        "reason": entry.reason,
        "detail": entry.detail,
        "device": entry.device,
        "channel": entry.channel,
        "record": entry.record,
        "state": entry.state,
        "payload": entry.payload.decode("utf-8", "backslashreplace"),
    }


def show(
    entry: Annotated[int, typer.Argument(help="Entry number.")], config: ConfigOption = None, json: JsonFlag = False
) -> None:
    """Show one entry with its payload, escaped."""
    from gateway.app import open_ledger

    with open_ledger(config) as ledger:
        record = _record(_one(ledger.connection, entry))
    if json:
        write_json(record)
        return
    for name, value in record.items():
        text = str(value).encode("unicode_escape").decode("ascii") if name == "payload" else value
        write(f"{name:12} {'-' if value is None else text}")


def _one(connection: object, entry: int) -> Quarantined:
    import sqlite3

    from gateway.errors import WrongUse
    from gateway.ledger import quarantine

    if not isinstance(connection, sqlite3.Connection):
        raise TypeError("a ledger connection is needed")
    found = quarantine.entries(connection, state=None, entry=entry)
    if not found:
        raise WrongUse(f"no quarantine entry {entry}", remedy="see `metergate quarantine list --state all`")
    return found[0]


def approve(entries: Entries, by: ByOption = None, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Run entries again: by the running gateway within a second, else at once.

    An entry that is refused again (its device is still unknown, say) stays open with the reason.
    """
    from gateway.app import decide_entries

    _report(decide_entries(config, entries, "approved", by), json)


def reject(entries: Entries, by: ByOption = None, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Put entries aside for good; they stay in the ledger."""
    from gateway.app import decide_entries

    _report(decide_entries(config, entries, "rejected", by), json)


def _report(decided: list[Quarantined], json: bool) -> None:
    if json:
        write_json([_record(e) for e in decided])
    else:
        for e in decided:
            write(f"entry {e.id} {e.state}" + (f": {e.reason}, {e.detail}" if e.state == "open" else ""))
    if any(e.state == "open" for e in decided):
        raise typer.Exit(1)
