"""`metergate history`: what was stored of a device, raw or in buckets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write_json
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


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
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Print a device's history; everything acknowledged is in it, beside a running gateway too."""
    from gateway.app import open_history
    from gateway.errors import WrongUse
    from gateway.history import BUCKET_FIELDS, RAW_FIELDS, Query

    if form not in {"table", "csv", "ndjson", "parquet"}:
        raise WrongUse(f"--format {form} is not known", remedy="use table, csv, ndjson or parquet")
    if form == "parquet" and out is None:
        raise WrongUse("parquet cannot be printed", remedy="give --out FILE")
    with open_history(config, device, channel) as (store, zone):
        query = Query(device=device, channel=channel, start=_moment(start, zone), end=_moment(end, zone), zone=zone)
        chosen = _resolution(resolution, query)
        fields = RAW_FIELDS if chosen == "raw" else BUCKET_FIELDS
        rows = store.raw(query) if chosen == "raw" else store.buckets(query, chosen)
        if json:
            write_json(list(rows))
        else:
            _emit(form, fields, rows, out)


def _moment(text: str | None, zone: ZoneInfo) -> int | None:
    from gateway.errors import WrongUse
    from gateway.metrology.instants import parse_date, parse_instant_file

    if text is None:
        return None
    try:
        return parse_date(text, zone)
    except ValueError:
        pass
    try:
        return parse_instant_file(text)
    except ValueError as error:
        raise WrongUse(f"{text}: {error}", remedy="write 2026-05-01 or 2026-05-01T08:00:00+07:00") from None


def _resolution(text: str, query: object) -> str:
    from gateway.errors import WrongUse
    from gateway.history import RESOLUTIONS_NS, Query

    if text == "raw" or text in RESOLUTIONS_NS:
        return text
    if text != "auto" or not isinstance(query, Query):
        raise WrongUse(f"--resolution {text} is not known", remedy="use raw, 1m, 1h, 1d or auto")
    if query.start is None or query.end is None:
        return "1d"
    span = query.end - query.start
    days = span / RESOLUTIONS_NS["1d"]
    return "raw" if days <= 1 else "1m" if days <= 3 else "1h" if days <= 92 else "1d"


def _emit(form: str, fields: Sequence[str], rows: Iterable[dict[str, object]], out: Path | None) -> None:
    import contextlib
    import itertools
    import sys

    if form == "parquet" and out is not None:
        _parquet(fields, rows, out)
        return
    with contextlib.ExitStack() as stack:
        target = sys.stdout if out is None else stack.enter_context(out.open("w", encoding="utf-8", newline=""))
        given = iter(rows)
        first = list(itertools.islice(given, 1))
        for line in {"csv": _csv, "ndjson": _ndjson, "table": _table}[form](fields, itertools.chain(first, given)):
            target.write(line)
    if not first:
        note("no readings")


def _ndjson(fields: Sequence[str], rows: Iterable[dict[str, object]]) -> Iterator[str]:
    import orjson

    for row in rows:
        yield orjson.dumps({f: row[f] for f in fields}).decode() + "\n"


def _csv(fields: Sequence[str], rows: Iterable[dict[str, object]]) -> Iterator[str]:
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(row[f]) for f in fields])
        if buffer.tell() > 65_536:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    """Write booleans as true and false; keep spreadsheet programs from running text as a formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return value


def _table(fields: Sequence[str], rows: Iterable[dict[str, object]]) -> Iterator[str]:
    """Format in pages, so that a long history starts at once: widths are those of the first page at least."""
    import itertools

    page = iter(rows)
    widths = [len(f) for f in fields]
    first = True
    while chunk := list(itertools.islice(page, 500)):
        cells = [["-" if row[f] is None else str(row[f]) for f in fields] for row in chunk]
        widths = [max(w, *(len(c[i]) for c in cells)) for i, w in enumerate(widths)]
        if first:
            yield "  ".join(f.ljust(w) for f, w in zip(fields, widths, strict=True)).rstrip() + "\n"
            yield "  ".join("-" * w for w in widths) + "\n"
            first = False
        for c in cells:
            yield "  ".join(v.ljust(w) for v, w in zip(c, widths, strict=True)).rstrip() + "\n"


def _parquet(fields: Sequence[str], rows: Iterable[dict[str, object]], out: Path) -> None:
    from gateway.errors import WrongUse

    try:
        import pyarrow as pa  # type: ignore[import-not-found,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise WrongUse("parquet needs pyarrow", remedy="pip install 'metergate[parquet]'") from None
    columns: dict[str, list[object]] = {f: [] for f in fields}
    for row in rows:
        for f in fields:
            columns[f].append(row[f])
    pq.write_table(pa.table(columns), out)
