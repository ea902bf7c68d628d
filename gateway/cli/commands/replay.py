"""`metergate replay`: recorded readings through the same pipeline in event time, beside any ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, progress, write, write_json, write_table
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.runtime.recorded import Replay


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay", epilog="Example: metergate replay march.csv --registry devices.yaml --out march")(replay)


def replay(
    file: Annotated[Path, typer.Argument(help="Recorded readings: CSV, NDJSON or Parquet.")],
    registry: Annotated[
        list[Path] | None, typer.Option("--registry", "-r", help="Registry files or folders; default the ledger's.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for verdicts, alarms and summary.")] = Path("replay"),
    form: Annotated[
        str, typer.Option("--format", "-f", help="Format of FILE: auto (by its name), csv, ndjson or parquet.")
    ] = "auto",
    budget: Annotated[str | None, typer.Option("--budget", help="False alarms of the site, such as 1/month.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Quarantine unreadable rows and go on.")] = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Judge recorded readings in event time; writes verdicts.ndjson, alarms.ndjson and summary.json."""
    import gc
    import time

    import orjson

    from gateway.app import read_recording, replay_plan
    from gateway.runtime import recorded

    gc.disable()  # a short life of many small values: collecting costs a tenth of it and finds nothing
    started = time.perf_counter()
    plan = replay_plan(config, registry, budget)
    with progress(f"reading {file.name}"):
        readings, unreadable = read_recording(file, form, keep_going=keep_going)
    with progress(f"judging {len(readings)} readings"):
        result = recorded.replay(plan, readings, unreadable)
    out.mkdir(parents=True, exist_ok=True)
    with progress("writing verdicts", len(result.judgement.verdicts)) as advance:
        recorded.write_verdicts(plan, result, out / "verdicts.ndjson", advance)
    _write_alarms(result, out / "alarms.ndjson")
    said = recorded.summary(plan, result, time.perf_counter() - started)
    (out / "summary.json").write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")
    if json:
        write_json(said)
    else:
        _tell(said, out)


def _write_alarms(result: Replay, path: Path) -> None:
    import orjson

    from gateway.pipeline.happenings import event_record

    with path.open("wb") as target:
        for happening in result.happenings:
            target.write(orjson.dumps(event_record(happening)) + b"\n")


def _tell(said: dict[str, object], out: Path) -> None:
    """Say the summary to a person."""
    readings, devices, alarms, refused = (said[k] for k in ("readings", "devices", "alarms", "quarantine"))
    if not (isinstance(readings, dict) and isinstance(devices, dict)):
        raise TypeError("a summary has readings and devices")
    write(
        f"{readings['received']} readings: {readings['stored']} stored, {readings['duplicate']} duplicate, "
        f"{readings['quarantined']} quarantined; {said['checks']} checks judged in {said['elapsed_s']} s"
    )
    write()
    rows = [
        (name, d["checks"], d["last_time"], _round(d["last_error"]), _round(d["margin_percent"]), d["drift"])
        for name, d in devices.items()
    ]
    write_table(("device", "checks", "last check", "last error", "margin %", "drift"), rows, empty="no devices")
    write()
    for what, found in (("alarms", alarms), ("quarantine", refused)):
        text = ", ".join(f"{k} {n}" for k, n in found.items()) if isinstance(found, dict) and found else "none"
        write(f"{what}: {text}")
    note(f"written: {out}/verdicts.ndjson, alarms.ndjson, summary.json")


def _round(value: object) -> str | None:
    return None if value is None else f"{value:.4g}"
