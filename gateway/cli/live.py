"""The live picture of the demo, on a terminal: instruments, alarms as they come, and the pace."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.alarms.conditions import Severity
from gateway.demonstration import DemoView
from gateway.metrology.instants import format_instant
from gateway.pipeline.standing import device_drift, last_channel
from gateway.runtime.ingest import Done, Ingest

__all__ = ["LiveView"]

_COLOURS = {
    Severity.CRITICAL: "bold red",
    Severity.MAJOR: "red",
    Severity.WARNING: "yellow",
    Severity.INFO: "cyan",
    Severity.NONE: "green",
}
_DRIFTS = {"stable": "green", "learning": "cyan", "suspected": "yellow", "drifting": "red", "outside": "bold red"}
LINES = 10


class LiveView(DemoView):
    """Draws on stderr; a context manager."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), refresh_per_second=5, transient=True)
        self._events: deque[Text] = deque(maxlen=LINES)
        self._head = Text("starting")
        self._ingest: Ingest | None = None

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def progress(self, at: int, sent: int, stored: int) -> None:
        """Show how far event time has come."""
        self._head = Text(
            f"{format_instant(at // 10**9 * 10**9)}   {sent} readings sent, {stored} stored", style="bold"
        )
        self._live.update(Group(self._head, self._fleet(), Text("alarms", style="bold"), *self._events))

    def batch(self, ingest: Ingest, done: Done) -> None:
        """Note what happened."""
        self._ingest = ingest
        for h in done.happenings:
            style = _COLOURS[h.alarm.severity] if h.transition.value != "cleared" else "green"
            self._events.append(
                Text(f"{format_instant(h.time // 10**9 * 10**9)} {h.transition.value:9} {h.alarm.text}", style=style)
            )

    def _fleet(self) -> Table:
        table = Table(box=None, padding=(0, 1))
        for _ in range(3):
            for name in ("instrument", "margin", "drift"):
                table.add_column(name, justify="right" if name == "margin" else "left")
        ingest = self._ingest
        if ingest is None:
            return table
        cells: list[tuple[Text, Text, Text]] = []
        for device in ingest.plan.devices:
            last = last_channel(ingest.plan, device, ingest.states)
            margin = float("nan") if last is None else float(ingest.states["margin_percent"][last])
            alarmed = any(key[0] == device for key in list(ingest.alarms))
            drift = device_drift(ingest.plan, device, ingest.states).value if last is not None else "reports"
            cells.append(
                (
                    Text(device, style="yellow" if alarmed else ""),
                    Text("" if margin != margin else f"{margin:.0f} %"),  # noqa: PLR0124  NaN: no limit
                    Text(drift, style=_DRIFTS.get(drift, "dim")),
                )
            )
        third = -(-len(cells) // 3)
        for row in range(third):
            parts = [cells[i] for i in (row, row + third, row + 2 * third) if i < len(cells)]
            table.add_row(*[cell for part in parts for cell in part])
        return table
