"""`metergate verify`: recompute what the ledger says, and judge sets of certificate points by their rules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, progress, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from gateway.verifying import Verification

START = Annotated[str | None, typer.Option("--from", help="RFC 3339 or a date in the site's zone; included.")]
END = Annotated[str | None, typer.Option("--to", help="RFC 3339 or a date in the site's zone; not included.")]

NOT_COVERED = (
    "recomputing proves no reading without a verdict, no time, seq, boot or evidence that decides nothing, "
    "no alarm and no state"
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Check that results are what their data and rules make them.")
    app.add_typer(group, name="verify", epilog="Example: metergate verify verdicts")
    group.command("verdicts", epilog="Example: metergate verify verdicts scale-07 --from 2026-05-01")(verdicts)


def verdicts(
    device: Annotated[str | None, typer.Argument(help="Device id; without it all devices.")] = None,
    start: START = None,
    end: END = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Recompute every verdict from readings, registry and designed limits, bit for bit; exit 1 if one differs."""
    import gateway
    from gateway.app import open_ledger, plan_from, rule_packs, settings_of
    from gateway.errors import Refused
    from gateway.verifying import plan_as_of, verify_verdicts

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    begun = time.perf_counter()
    with open_ledger(config) as ledger, ledger.snapshot() as connection:
        try:
            plan = plan_from(ledger, settings, packs)
        except (ValueError, TypeError) as error:
            raise Refused(
                f"the registry in the ledger cannot be read: {error}",
                remedy="the ledger was damaged or changed by other hands; compare it with a backup",
            ) from error
        total = int(connection.execute("SELECT COUNT(*) FROM reading").fetchone()[0])
        with progress("recomputing", total) as advance:
            found = verify_verdicts(
                connection,
                plan,
                lambda at: plan_as_of(connection, settings, packs, at),
                device=device,
                start=_moment(start, settings.zone),
                end=_moment(end, settings.zone),
                advance=advance,
            )
    elapsed = time.perf_counter() - begun
    if json:
        write_json(_document(found, gateway.__version__, elapsed))
    else:
        _print(found, gateway.__version__, elapsed)
    if not found.sound:
        raise typer.Exit(1)


def _document(found: Verification, software: str, elapsed: float) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    return {
        "sound": found.sound,
        "verdicts": found.verdicts,
        "superseded": found.superseded,
        "differing": found.differing,
        "differences": [d.document() for d in found.differences],
        "pending": [
            {
                "device": p.device,
                "channel": p.channel,
                "since": None if p.since is None else format_instant(p.since),
            }
            for p in found.pending
        ],
        "channels": found.channels,
        "software": software,
        "judged_by": dict(sorted(found.software.items())),
        "not_covered": NOT_COVERED,
        "elapsed_s": round(elapsed, 3),
        "verdicts_per_s": round(found.verdicts / elapsed),
    }


def _print(found: Verification, software: str, elapsed: float) -> None:
    from gateway.metrology.instants import format_instant

    if found.differences:
        columns = ("device", "channel", "time", "field", "stored", "recomputed")
        rows = [d.document() for d in found.differences]
        write_table(columns, [[_cell(row[c]) for c in columns] for row in rows])
    for p in found.pending:
        since = "the beginning" if p.since is None else format_instant(p.since)
        note(
            f"{p.device} {p.channel}: from {since} on registry, rule packs or designed limits are not those it was "
            "judged by; the gateway, or `metergate import`, will judge it again and supersede, unless they were "
            "changed by other hands"
        )
    others = {name: n for name, n in sorted(found.software.items()) if name != software}
    for name, n in others.items():
        note(f"{n} verdicts were judged by Metergate {name}, this is {software}: they may differ where software did")
    listed = len({(d.device, d.channel, d.time) for d in found.differences})
    if listed < found.differing:
        note(f"only the first {listed} differing verdicts are listed")
    write(
        f"{found.verdicts} verdicts of {found.channels} channels recomputed, {found.differing} differ; "
        f"{found.superseded} superseding ones follow; {elapsed:.1f} s"
    )
    note(f"note: {NOT_COVERED}")


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else value


def _moment(text: str | None, zone: ZoneInfo) -> int | None:
    from gateway.errors import WrongUse
    from gateway.metrology.instants import parse_date, parse_instant_file

    if text is None:
        return None
    try:
        return parse_date(text, zone) if len(text) == 10 and text[4] == "-" else parse_instant_file(text)
    except ValueError as error:
        raise WrongUse(f"{text}: {error}", remedy="write 2026-05-01 or 2026-05-01T08:00:00+07:00") from None
