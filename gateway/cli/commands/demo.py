"""`metergate demo`: a simulated centre with known faults, through the whole gateway, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json, write_table

if TYPE_CHECKING:
    from gateway.demonstration import Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", epilog="Example: metergate demo --seconds 30")(demo)


def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long 120 days of event time take.")] = 30.0,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the broker; 0 takes a free one.")] = 0,
    headless: Annotated[
        bool, typer.Option("--headless", help="Nothing live; exit 0 if just the faults were found.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Chooses places, sizes and moments of the faults.")] = 1,
    json: JsonFlag = False,
) -> None:
    """Show the gateway at work: 34 instruments, 120 days, nine kinds of faults, a real broker.

    At the end it says for every injected fault when it was found, and counts the false alarms.
    """
    import asyncio
    import sys
    import tempfile
    from pathlib import Path

    from gateway.demonstration import Demo, DemoView

    live = sys.stderr.isatty() and not headless and not json
    with tempfile.TemporaryDirectory(prefix="metergate-demo-") as folder:
        if live:
            from gateway.cli.live import LiveView

            with LiveView() as view:
                run = Demo(seed=seed, seconds=seconds, folder=Path(folder), port=port, view=view)
                outcome = asyncio.run(run.run())
        else:
            run = Demo(seed=seed, seconds=seconds, folder=Path(folder), port=port, view=DemoView())
            outcome = asyncio.run(run.run())
    if json:
        write_json(
            {
                "faults": [f.record() for f in outcome.findings],
                "false_alarms": outcome.false_alarms,
                "readings": outcome.readings,
                "alarms": outcome.alarms,
            }
        )
    else:
        _tell(outcome, seed)
    if not outcome.passed:
        raise typer.Exit(1)


def _tell(outcome: Outcome, seed: int) -> None:
    from gateway.metrology.instants import format_instant

    r = outcome.readings
    write(
        f"seed {seed}: {r['received']} readings from 34 instruments in 120 days of event time: {r['stored']} stored, "
        f"{r['duplicate']} duplicate, {r['quarantined']} quarantined"
    )
    write()
    rows = [
        (
            f.fault.kind,
            f.fault.device,
            f.fault.text,
            format_instant(f.fault.injected_at // 10**9 * 10**9),
            "NOT FOUND" if f.found_at is None else format_instant(f.found_at // 10**9 * 10**9),
            f.by,
            None if f.found_at is None else _days(f.found_at - f.fault.injected_at),
        )
        for f in outcome.findings
    ]
    write_table(("fault", "instrument", "size", "injected", "found", "by", "delay"), rows)
    write()
    found = sum(f.found_at is not None for f in outcome.findings)
    write(f"{found} of {len(outcome.findings)} faults found, {outcome.false_alarms} false alarms")
    for text in outcome.false_alarm_texts:
        note(f"false alarm: {text}")


def _days(ns: int) -> str:
    hours = ns / 3.6e12
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"
