"""`metergate verify`: recompute what the ledger says, and judge sets of certificate points by their rules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, progress, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from gateway.certified import JudgedCertificate
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
    group.command("certificates", epilog="Example: metergate verify certificates water-12 --json")(certificates)


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
        "horizons": [{"device": d, "channel": c, "from": format_instant(time)} for d, c, time in found.horizons],
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
    for device, channel, begin in found.horizons:
        note(f"{device} {channel}: readings and verdicts before {format_instant(begin)} were deleted by retention")
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


def certificates(
    device: Annotated[str | None, typer.Argument(help="Device id; without it all devices.")] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Judge certificate points by the initial limits, one by one and together (one sign, weighted mean); exit 1 if an
    instrument was left outside them."""
    import difflib

    from gateway.app import open_ledger, registry_of, rule_packs, settings_of
    from gateway.certified import judge_certificates
    from gateway.errors import WrongUse

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    with open_ledger(config) as ledger:
        registry = registry_of(ledger, settings, packs)
    if device is not None and device not in registry.devices:
        near = difflib.get_close_matches(device, sorted(registry.devices), n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see `metergate devices list`"
        raise WrongUse(f"no device {device}", remedy=remedy)
    found = judge_certificates(registry, packs, device)
    if json:
        write_json([_certificate(c) for c in found])
    else:
        _print_certificates(found)
    if any(c.finding for c in found):
        raise typer.Exit(1)


def _certificate(judged: JudgedCertificate) -> dict[str, object]:
    from gateway.metrology.instants import format_instant
    from gateway.metrology.readings import power_factor_text

    c = judged.certificate
    return {
        "certificate": c.id,
        "phase": c.phase.value,
        "device": c.device,
        "channel": c.channel,
        "performed_at": format_instant(c.performed_at),
        "rule_pack": judged.pack.reference,
        "status": "verified" if judged.verified else "unverified",
        "conforms": judged.conforms,
        "points": [
            {
                "x": None if p.point.x is None else float(p.point.x),
                "error": float(p.point.error),
                "U": float(p.point.U),
                "k": float(p.point.k),
                "mpe": p.mpe,
                "within": p.within,
                "u_too_large": p.u_too_large,
                "power_factor": None if p.point.power_factor is None else power_factor_text(p.point.power_factor),
                "phase": p.point.phase,
                "direction": p.point.direction,
            }
            for p in judged.points
        ],
        "rules": [
            {
                "rule": f.kind.value,
                "holds": f.holds,
                "points": f.points,
                "value": f.value,
                "limit": f.limit,
                "status": "verified" if f.verified else "unverified",
                "source": f.source,
            }
            for f in judged.findings
        ],
    }


_WORDS = {True: "conforms", False: "does not conform", None: "cannot be told"}


def _print_certificates(found: Sequence[JudgedCertificate]) -> None:
    if not found:
        note("no certificate with points belongs to a device under a rule pack")
    for judged in found:
        c = judged.certificate
        status = "" if judged.verified else " (limits not all verified)"
        about = f"{c.id} ({c.phase.value}) {c.device} {c.channel}"
        write(f"{about}: {_WORDS[judged.conforms]}; {judged.pack.reference}{status}")
        rows = [
            (p.point.x, p.point.error, p.point.U, p.mpe, _YES[p.within], "U > MPE/3" if p.u_too_large else None)
            for p in judged.points
        ]
        write_table(("x", "error", "U", "MPE", "within", "note"), rows)
        for f in judged.findings:
            figures = "" if f.value is None else f": {f.value:g} %, limit {f.limit:g} %"
            write(f"{f.kind.value.replace('_', ' ')} over {f.points} points: {_YES[f.holds]}{figures}")
        write()


_YES = {True: "yes", False: "no", None: "unknown"}
