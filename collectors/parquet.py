"""Recorded readings in Parquet: a table with the columns of a reading (CONTRACTS §3) and the time as `time`.

`time` is a timestamp with a time zone, or what it is in CSV: text with an offset, or epoch seconds. Columns are given
as the cells a CSV of the same table would have (null is an empty cell), so that both are read by the same rules.
Needs pyarrow, the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.errors import Mistake, Mistakes, WrongUse

__all__ = ["read_cells"]

_ROWS = 4000


def read_cells(path: Path) -> tuple[list[str], Iterator[list[list[str]]]]:
    """Return the column names, and the rows some thousand at a time, each a list of cells.

    WrongUse without pyarrow; Mistakes when the file is no Parquet file or a column cannot be a column of readings.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped,import-not-found,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise WrongUse(f"reading {path} needs pyarrow", remedy="pip install 'metergate[parquet]'") from None
    path.open("rb").close()
    try:
        file = pq.ParquetFile(path)
        names = list(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise Mistakes([_mistake(path, "", f"the file is no Parquet file: {_first_line(error)}")]) from None
    wrong = [_mistake(path, f.name, words) for f in file.schema_arrow if (words := _unfit(pa, f)) is not None]
    if wrong:
        raise Mistakes(wrong)
    return names, _rows(pa, file, path)


def _rows(pa: Any, file: Any, path: Path) -> Iterator[list[list[str]]]:
    try:
        for batch in file.iter_batches(batch_size=_ROWS):
            columns = [_cells(pa, column) for column in batch.columns]
            yield [list(row) for row in zip(*columns, strict=True)]
    except (pa.ArrowException, OSError) as error:
        raise Mistakes([_mistake(path, "", f"the file is damaged: {_first_line(error)}")]) from None


def _unfit(pa: Any, field: Any) -> str | None:
    """Return why a column cannot be read, None if it can."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_timestamp(kind):
        return None if kind.tz is not None else "the timestamps have no time zone; write them as UTC timestamps"
    plain = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
        pa.types.is_boolean, pa.types.is_null, pa.types.is_date,
    )  # fmt: skip
    return None if any(fits(kind) for fits in plain) else f"a column of {kind} cannot be read"


def _cells(pa: Any, column: Any) -> list[str]:
    """Return a column as text, numbers in the shortest form that is exact, null as nothing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", tz="UTC"))
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        column = column.cast(pa.float64())
    return ["" if cell is None else cell for cell in column.cast(pa.string()).to_pylist()]


def _mistake(path: Path, column: str, words: str) -> Mistake:
    return Mistake(file=str(path), line=None, key=column, message=words)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
