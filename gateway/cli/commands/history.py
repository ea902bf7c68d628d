"""`metergate history`: what was stored of a device, raw or in buckets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from gateway.history import History, Query


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", epilog="Example: metergate history scale-07 --from 2026-05-01 --resolution 1d")(history)


def history(
    device: Annotated[str, typer.Argument(help="Device id.")],
    channel: Annotated[str | None, typer.Option("--channel", help="Only this channel.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="RFC 3339 or a date in the site's zone; included.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="RFC 3339 or a date in the site's zone; not included.")
    ] = None,
    resolution: Annotated[str, typer.Option("--resolution", help="raw, 1m, 1h, 1d or auto.")] = "raw",
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv, ndjson or parquet.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; needed for parquet.")] = None,
    where: Annotated[
        str, typer.Option("--store", help="ledger, or influx: what has been forwarded to InfluxDB.")
    ] = "ledger",
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Print a device's history; everything acknowledged is in it, beside a running gateway too."""
    from gateway.app import open_history
    from gateway.errors import WrongUse
    from gateway.history import BUCKET_FIELDS, RAW_FIELDS, Query, formats
    from gateway.history.asking import rows_of

    if form not in {"table", "csv", "ndjson", "parquet"}:
        raise WrongUse(f"--format {form} is not known", remedy="use table, csv, ndjson or parquet")
    if form == "parquet" and out is None:
        raise WrongUse("parquet cannot be printed", remedy="give --out FILE")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    if where not in {"ledger", "influx"}:
        raise WrongUse(f"--store {where} is not known", remedy="use ledger or influx")
    with open_history(config, device, channel, where) as (store, zone):
        begin, stop = _moment(start, zone), _moment(end, zone)
        if begin is not None and stop is not None and begin > stop:
            raise WrongUse(f"--from {start} is after --to {end}", remedy="exchange them")
        query = Query(device=device, channel=channel, start=begin, end=stop, zone=zone)
        chosen = _resolution(resolution, store, query)
        fields = RAW_FIELDS if chosen == "raw" else BUCKET_FIELDS
        rows = _counted(rows_of(store, query, chosen))
        if json:
            _write(formats.json_text(rows), out)
        elif form == "parquet" and out is not None:
            formats.write_parquet(fields, rows, out)
        else:
            as_text = {"csv": formats.csv_text, "ndjson": formats.ndjson_text, "table": formats.table_text}[form]
            _write(as_text(fields, rows), out)
        for name, before in store.gone(query, chosen):
            note(_gone(device, name, before, chosen))


def _gone(device: str, channel: str, before: int, resolution: str) -> str:
    from gateway.metrology.instants import format_instant

    since = format_instant(before)
    if resolution in {"raw", "1m"}:
        return f"raw readings of {device} {channel} before {since} were deleted by retention; --resolution 1h has them"
    return f"roll-ups of {device} {channel} before {since} were deleted by retention"


def _counted(rows: Iterable[dict[str, object]]) -> Iterator[dict[str, object]]:
    """Pass rows on; say so if there were none."""
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        note("no readings")


def _moment(text: str | None, zone: ZoneInfo) -> int | None:
    from gateway.errors import WrongUse
    from gateway.metrology.instants import parse_date, parse_instant_file

    if text is None:
        return None
    try:
        return parse_date(text, zone) if re.fullmatch(r"\d+-\d+-\d+", text) else parse_instant_file(text)
    except ValueError as error:
        raise WrongUse(f"{text}: {error}", remedy="write 2026-05-01 or 2026-05-01T08:00:00+07:00") from None


def _resolution(text: str, store: History, query: Query) -> str:
    from gateway.errors import WrongUse
    from gateway.history import RESOLUTIONS_NS
    from gateway.history.asking import resolution_for

    if text == "raw" or text in RESOLUTIONS_NS:
        return text
    if text != "auto":
        raise WrongUse(f"--resolution {text} is not known", remedy="use raw, 1m, 1h, 1d or auto")
    return resolution_for(store, query)


def _write(texts: Iterable[str], out: Path | None) -> None:
    if out is None:
        sys.stdout.writelines(texts)
        return
    with out.open("w", encoding="utf-8", newline="") as target:
        target.writelines(texts)
