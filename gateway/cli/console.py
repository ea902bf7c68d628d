"""What commands write: results on stdout (one JSON document with --json), everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JsonFlag", "note", "progress", "write", "write_json", "write_json_line", "write_table"]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


def write(text: str = "") -> None:
    """Write a line of result to stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a line that is not a result to stderr."""
    sys.stderr.write(text + "\n")


def write_json(document: Any) -> None:
    """Write exactly one JSON document to stdout, indented."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def write_json_line(document: Any) -> None:
    """Write one object on one line to stdout (NDJSON)."""
    import orjson

    sys.stdout.write(orjson.dumps(document).decode() + "\n")


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing") -> None:
    """Write a plain aligned table to stdout: numbers to the right, None as a dash; `empty` goes to stderr."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    widths = [max(len(columns[i]), *(len(row[i]) for row in cells)) for i in range(len(columns))]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        parts = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        return "  ".join(parts).rstrip()

    write(line(columns))
    write("  ".join("-" * w for w in widths))
    for row in cells:
        write(line(row))


def _is_number(text: str) -> bool:
    if text == "-":
        return True
    try:
        float(text.rstrip("%"))
    except ValueError:
        return False
    return True


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr while a terminal is there; yields a function that adds to what is done."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, advance=done)
