"""Histories as text and as Parquet: the same rows and fields in every form, streamed."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.errors import WrongUse

__all__ = ["csv_text", "json_text", "ndjson_text", "table_text", "write_parquet"]

Row = Mapping[str, object]

PAGE = 500
ROW_GROUP = 100_000

_TIMES = frozenset({"time", "received_at"})
_TRUTHS = frozenset({"stable", "late"})
_COUNTS = frozenset({"seq", "n", "checks", "gaps"})
_FREE = frozenset({"boot", "unit"})
"""Text that instruments and people choose."""
_QUOTED = frozenset(',"\r\n')
_TEXTS = frozenset({"device", "channel", "unit", "boot", "quality"})


def json_text(rows: Iterable[Row]) -> Iterator[str]:
    """Yield one JSON array, a row a line."""
    import orjson

    lead = "[\n"
    for row in rows:
        yield lead + orjson.dumps(row).decode()
        lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def ndjson_text(fields: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield one object a line."""
    import orjson

    for row in rows:
        yield orjson.dumps({f: row[f] for f in fields}).decode() + "\n"


def csv_text(fields: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield CSV with a header; absent facts are empty cells, booleans true and false."""
    values = operator.itemgetter(*fields)
    given = iter(rows)
    said: dict[tuple[str, object], str] = {}
    yield ",".join(fields) + "\n"
    while some := list(map(values, itertools.islice(given, PAGE))):
        columns = (_cells(f, column, said) for f, column in zip(fields, zip(*some, strict=True), strict=True))
        yield "\n".join(map(",".join, zip(*columns, strict=True))) + "\n"


def _cells(field: str, column: Sequence[Any], said: dict[tuple[str, object], str]) -> Sequence[str]:
    """Return a column as cells, many at a time: a csv.writer looks at each character. `said` remembers texts."""
    if field in _TIMES:
        return column
    if field in _TEXTS:
        for text in set(column):
            if (field, text) not in said:
                said[field, text] = _text_cell(text, free=field in _FREE)
        return [said[field, text] for text in column]
    if field in _TRUTHS:
        return ["" if v is None else "true" if v else "false" for v in column]
    return ["" if v is None else repr(v) for v in column]


def _text_cell(text: str | None, *, free: bool) -> str:
    """Quote what CSV wants quoted; keep spreadsheet programs from running text as a formula."""
    if text is None:
        return ""
    if free and text[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        text = "'" + text
    return text if _QUOTED.isdisjoint(text) else '"' + text.replace('"', '""') + '"'


def table_text(fields: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield an aligned table in pages, so that a long history starts at once: widths only ever grow."""
    page = iter(rows)
    widths = [len(f) for f in fields]
    first = True
    while chunk := list(itertools.islice(page, PAGE)):
        cells = [["-" if row[f] is None else str(row[f]) for f in fields] for row in chunk]
        widths = [max(w, *(len(c[i]) for c in cells)) for i, w in enumerate(widths)]
        if first:
            yield "  ".join(f.ljust(w) for f, w in zip(fields, widths, strict=True)).rstrip() + "\n"
            yield "  ".join("-" * w for w in widths) + "\n"
            first = False
        for c in cells:
            yield "  ".join(v.ljust(w) for v, w in zip(c, widths, strict=True)).rstrip() + "\n"


def write_parquet(fields: Sequence[str], rows: Iterable[Row], path: Path) -> int:
    """Write a Parquet file and return how many rows; times are timestamps (ns, UTC). WrongUse without pyarrow."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped,import-not-found,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise WrongUse("parquet needs pyarrow", remedy="pip install 'metergate[parquet]'") from None
    schema = pa.schema([(f, _parquet_type(pa, f)) for f in fields])
    given, count = iter(rows), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(itertools.islice(given, ROW_GROUP)):
            columns = [_parquet_column(pa, schema.field(f).type, [row[f] for row in chunk]) for f in fields]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(chunk)
    return count


def _parquet_type(pa: Any, name: str) -> Any:
    if name in _TIMES:
        return pa.timestamp("ns", tz="UTC")
    if name in _TRUTHS:
        return pa.bool_()
    if name in _COUNTS:
        return pa.int64()
    return pa.string() if name in _TEXTS else pa.float64()


def _parquet_column(pa: Any, kind: Any, values: list[object]) -> Any:
    return pa.array(values).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)
