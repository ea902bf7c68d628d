"""`metergate retention`: what the ledger has deleted and will delete, by `ledger.retention` in the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, progress, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.ledger.retention import Deletion
    from gateway.runtime.retention import Keeper
    from gateway.settings import Settings

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what is due, and delete nothing.")]
Compact = Annotated[
    bool, typer.Option("--compact", help="Then give the space back to the disk; needs as much free as is left.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Delete what the settings do not keep any longer.")
    app.add_typer(group, name="retention", epilog="Example: metergate retention run --dry-run")
    group.command("run", epilog="Example: metergate retention run --compact")(run)
    group.command("log", epilog="Example: metergate retention log --json")(log)


def run(dry_run: DryRun = False, compact: Compact = False, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Delete what is due, as a running gateway does by itself every day; the gateway must be stopped.

    Readings of a channel with checks go by whole chapters: a certificate's readings go when another has held for as
    long as `raw`. Exit 1: a gateway runs on the ledger.
    """
    from gateway.app import settings_of
    from gateway.errors import WrongUse
    from gateway.runtime.retention import Keeper, policy_of

    settings = settings_of(config)
    policy = policy_of(settings)
    if policy is None:
        raise WrongUse("everything is kept", remedy="set ledger.retention, such as {raw: 1095d, rollups: 7300d}")
    keeper = Keeper(policy=policy)
    if dry_run:
        _say_due(config, settings, keeper, as_json=json)
        return
    done = _delete(config, settings, keeper, compact=compact)
    if json:
        write_json({**_record(done), "waiting": keeper.waiting})
        return
    write(f"{done.readings} readings with {done.verdicts} verdicts and {done.rollups} hourly roll-ups deleted")
    if keeper.waiting is not None:
        note(
            f"not all that is due: {keeper.waiting}; `metergate run` catches up, `metergate doctor` says how far it is"
        )


def _delete(config: Path | None, settings: Settings, keeper: Keeper, *, compact: bool) -> Deletion:
    from gateway.app import plan_from, rule_packs
    from gateway.history.rolling import catch_up
    from gateway.ledger import retention
    from gateway.ledger.store import Ledger, hold
    from gateway.runtime.clock import now_ns
    from gateway.runtime.ingest import Ingest

    at = now_ns()
    with hold(settings.data_dir), Ledger.open(settings.data_dir, create=False) as ledger:
        ingest = Ingest(ledger, plan_from(ledger, settings, rule_packs(config, settings)), settings.lateness)
        ingest.rejudge(at)
        catch_up(ledger, at)
        before = {d.begun_at: d for d in retention.deletions(ledger.connection)}
        keeper.begin(ingest, at)
        with progress("deleting") as advance:
            while keeper.step(ingest, at):
                advance(1)
        if compact:
            ledger.connection.execute("VACUUM")
        newest = next(iter(retention.deletions(ledger.connection, 1)), None)
    if newest is not None and before.get(newest.begun_at) != newest:
        return newest
    return retention.Deletion(
        begun_at=at, ended_at=at, raw_before=keeper.raw_before, rolled_before=keeper.rolled_before,
        readings=0, verdicts=0, rollups=0, first_time=None, last_time=None, digest="",
    )  # fmt: skip


def _say_due(config: Path | None, settings: Settings, keeper: Keeper, *, as_json: bool) -> None:
    from gateway.app import plan_from, rule_packs
    from gateway.ledger.store import Ledger
    from gateway.metrology.instants import format_instant
    from gateway.runtime.clock import now_ns
    from gateway.runtime.ingest import Ingest

    with Ledger.open(settings.data_dir, create=False) as ledger:
        ingest = Ingest(ledger, plan_from(ledger, settings, rule_packs(config, settings)), settings.lateness)
        keeper.begin(ingest, now_ns())
        found = keeper.due(ingest)
    facts = ingest.plan.facts
    rows = [(facts[d.channel].device, facts[d.channel].channel, format_instant(d.time), n) for d, n in found]
    if as_json:
        write_json([dict(zip(("device", "channel", "before", "readings"), row, strict=True)) for row in rows])
        return
    write_table(("device", "channel", "before", "readings"), rows, empty="nothing is due")


def log(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """List what was deleted and when, the newest first, with a SHA-256 over the deleted rows."""
    from gateway.app import open_ledger
    from gateway.ledger.retention import deletions

    with open_ledger(config) as ledger:
        found = deletions(ledger.connection)
    records = [_record(d) for d in found]
    if json:
        write_json(records)
        return
    columns = ("begun_at", "raw_before", "readings", "verdicts", "rollups", "first_time", "last_time", "digest")
    write_table(columns, [[r[c] for c in columns] for r in records], empty="nothing was ever deleted")


def _record(run: Deletion) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    def moment(ns: int | None) -> str | None:
        return None if ns is None else format_instant(ns)

    return {
        "begun_at": moment(run.begun_at), "ended_at": moment(run.ended_at), "raw_before": moment(run.raw_before),
        "rolled_before": moment(max(run.rolled_before, 0)), "readings": run.readings, "verdicts": run.verdicts,
        "rollups": run.rollups, "first_time": moment(run.first_time), "last_time": moment(run.last_time),
        "digest": run.digest or None,
    }  # fmt: skip
