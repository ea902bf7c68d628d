"""Verdicts recomputed from the ledger, bit for bit: from registry versions, designed limits and readings alone.

Every channel is judged again from its first reading, or from its horizon where retention has deleted earlier ones, with
the code that judged it live, and what comes out is compared with what is stored. What was superseded is checked by its
hash: a superseding verdict names the one before it.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.design import widen
from gateway.drift.charts import detectors
from gateway.errors import Refused, WrongUse
from gateway.ledger import moments, readings, retention
from gateway.ledger.registry import designed
from gateway.metrology.conformity import Conformity
from gateway.metrology.instants import format_instant
from gateway.metrology.rulepacks import RulePacks
from gateway.pipeline.columns import Columns
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.fingerprints import changed_from
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import NEVER, Plan
from gateway.pipeline.records import Context, context_of, flag_names, verdict_lines
from gateway.pipeline.state import States, fresh
from gateway.pipeline.state import load as load_states
from gateway.registry.build import build
from gateway.registry.canonical import load
from gateway.registry.specs import Specs
from gateway.settings import Settings

__all__ = ["Difference", "Pending", "Verification", "plan_as_of", "verify_verdicts"]

TOGETHER = 20_000
"""About so many readings are judged at once."""
LISTED = 1000
"""At most so many differing verdicts are told field by field."""

_OF_THE_PLAN = frozenset({"epoch"})
_UNSTATED = frozenset({"software", "layout", "site"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of one verdict that is stored otherwise than it is recomputed. `time` in ns."""

    device: str
    channel: str
    time: int
    field: str
    stored: object
    recomputed: object
    software: str | None

    def document(self) -> dict[str, object]:
        """Return it as one JSON object."""
        return {
            "device": self.device, "channel": self.channel, "time": format_instant(self.time), "field": self.field,
            "stored": self.stored, "recomputed": self.recomputed, "software": self.software,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A channel last judged by another plan than registry, rule packs and designed limits make now; None: unknown."""

    device: str
    channel: str
    since: int | None


@dataclass(slots=True, kw_only=True)
class Verification:
    """What recomputing found. `differing` counts verdicts; `differences` lists the fields of the first of them.

    `horizons`: (device, channel, from when in ns) of channels whose earlier readings were deleted by retention.
    """

    verdicts: int = 0
    superseded: int = 0
    differing: int = 0
    channels: int = 0
    differences: list[Difference] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    software: Counter[str] = field(default_factory=Counter)
    horizons: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every verdict is what its readings and rules make it, and nothing waits to be judged again."""
        return not self.differing and not self.pending


def verify_verdicts(
    connection: sqlite3.Connection,
    plan: Plan,
    plan_as_of: Callable[[int], Plan],
    *,
    device: str | None = None,
    start: int | None = None,
    end: int | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> Verification:
    """Recompute the verdicts of one device, or all, of checks in [start, end) (ns), and compare.

    `plan` is that of the registry as it stands, `plan_as_of` that of the registry at an instant: readings beyond the
    lateness horizon stay as they were judged on receipt. Raises WrongUse for an unknown device.
    """
    numbers = _numbers(connection, device)
    found = Verification(channels=len(numbers))
    run = _Run(connection=connection, plan=plan, plan_as_of=plan_as_of, found=found, start=start, end=end)
    run.note_pending(numbers)
    run.note_forgotten(numbers)
    run.note_misplaced(numbers)
    known = {plan.index[name]: number for name, number in numbers.items() if name in plan.index}
    for part in run.parts(dict(sorted(known.items()))):
        run.compare(part)
        advance(sum(len(s.ids) for s in part.stored))
    for channel, number in sorted(known.items()):
        run.compare_beyond(channel, number)
    return found


def plan_as_of(connection: sqlite3.Connection, settings: Settings, packs: RulePacks, at: int) -> Plan:
    """Return the plan of the registry as it stood at an instant (ns), with the limits designed since."""
    rows = connection.execute(
        """SELECT r.kind, r.document FROM registry r
           JOIN (SELECT MAX(version) AS newest, MIN(version) AS first FROM registry WHERE applied_at <= ?
                 GROUP BY kind, id) v ON v.newest = r.version ORDER BY v.first""",
        (at,),
    )
    specs = Specs.of([load(str(kind), bytes(document)) for kind, document in rows])
    registry = build(specs, zone=settings.zone, packs=packs)
    return compile_plan(registry, packs, designed(connection), widen, settings.site)


def _numbers(connection: sqlite3.Connection, device: str | None) -> dict[tuple[str, str], int]:
    rows = connection.execute("SELECT id, device, channel FROM channel ORDER BY device, channel").fetchall()
    if device is not None and device not in {d for _, d, _ in rows}:
        near = difflib.get_close_matches(device, sorted({d for _, d, _ in rows}), n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see `metergate devices list`"
        raise WrongUse(f"no verdicts of a device {device}", remedy=remedy)
    return {(d, c): int(i) for i, d, c in rows if device in {None, d}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A stretch of some channels, at most one of each, and what judging it again gives."""

    stored: list[readings.Stored]
    columns: Columns
    judgement: Judgement


@dataclass(slots=True, kw_only=True)
class _Run:
    """One walk over the ledger."""

    connection: sqlite3.Connection
    plan: Plan
    plan_as_of: Callable[[int], Plan]
    found: Verification
    start: int | None
    end: int | None
    contexts: dict[int, Context | None] = field(default_factory=dict)
    layouts: dict[int, np.dtype[Any] | None] = field(default_factory=dict)

    def note_pending(self, numbers: dict[tuple[str, str], int]) -> None:
        """Note the channels that were judged by another plan than this."""
        said = dict(self.connection.execute("SELECT channel, fingerprint FROM state").fetchall())
        for (device, channel), number in numbers.items():
            index = self.plan.index.get((device, channel))
            if index is None or number not in said:
                continue
            since = changed_from(said[number], self.plan.fingerprints[index])
            if since is not None:
                self.found.pending.append(
                    Pending(device=device, channel=channel, since=None if since == NEVER else since)
                )

    def note_forgotten(self, numbers: dict[tuple[str, str], int]) -> None:
        """Note verdicts of channels that the registry does not hold: they cannot be recomputed."""
        for (device, channel), number in numbers.items():
            if (device, channel) in self.plan.index:
                continue
            rows = self.connection.execute(
                "SELECT time FROM by_time WHERE channel = ? AND verdict IS NOT NULL", (number,)
            )
            for (time,) in rows:
                if self._asked(int(time)):
                    self._differs(device, channel, int(time), None, [("registry", "a channel", None)])

    def note_misplaced(self, numbers: dict[tuple[str, str], int]) -> None:
        """Note readings that are not where their channel has them: no history would show them as they are."""
        names = {number: name for name, number in numbers.items()}
        for number, placed, own in moments.misplaced(self.connection):
            time = placed if placed is not None else own
            if number in names and time is not None and self._asked(time):
                self._differs(*names[number], time, None, [("time", _instant(own), _instant(placed))])

    def _asked(self, time: int) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    def parts(self, known: dict[int, int]) -> Iterator[_Part]:
        """Judge the channels again from their first readings, piece by piece."""
        states = fresh(len(self.plan))
        begin = {channel: self._begin(channel, number, states) for channel, number in known.items()}
        pending: list[readings.Stored] = []
        size = 0
        for channel, number in known.items():
            after = begin[channel]
            while True:
                until = self._cut(number, after)
                stored = self._read(channel, number, after, until)
                if len(stored.ids):
                    pending.append(stored)
                    size += len(stored.ids)
                last = until >= (self.end or 2**63) - 1
                if size >= TOGETHER or (not last and pending):
                    yield self._judged(pending, states)
                    pending, size = [], 0
                if last:
                    break
                after = until
        if pending:
            yield self._judged(pending, states)

    def _begin(self, channel: int, number: int, states: States) -> int:
        """Return after when (ns) the channel is judged again, and put the state that was left behind there."""
        horizon = retention.horizon_of(self.connection, number)
        if horizon is None:
            return NEVER
        facts = self.plan.facts[channel]
        self.found.horizons.append((facts.device, facts.channel, horizon.time))
        with suppress(ValueError):  # of another version of the software: judged again as if history began there
            states[channel] = load_states([horizon.state])[0]
        return horizon.time - 1

    def _read(self, channel: int, number: int, after: int, until: int, *, beyond: bool = False) -> readings.Stored:
        try:
            return readings.since(self.connection, channel, number, after, until, beyond=beyond)
        except (ValueError, TypeError, OverflowError, sqlite3.DatabaseError) as error:
            facts = self.plan.facts[channel]
            raise Refused(
                f"readings of {facts.device} {facts.channel} cannot be read: {error}",
                remedy="the ledger was damaged or changed by other hands; compare it with a backup",
            ) from error

    def _cut(self, number: int, after: int) -> int:
        """Return up to when to read: some thousand readings on, or the end asked for."""
        row = self.connection.execute(
            "SELECT time FROM moments WHERE channel = ? AND time > ? ORDER BY time LIMIT 1 OFFSET ?",
            (number, after, TOGETHER),
        ).fetchone()
        last = 2**63 - 1 if self.end is None else self.end - 1
        return last if row is None else min(int(row[0]), last)

    def _judged(self, stored: list[readings.Stored], states: npt.NDArray[Any]) -> _Part:
        columns = Columns.join([s.columns for s in stored])
        channels = np.unique(columns.channel)
        judgement = judge(self.plan, states.take(channels), columns)
        states.put(channels, judgement.states)
        return _Part(stored=stored, columns=columns, judgement=judgement)

    def compare(self, part: _Part) -> None:
        """Compare what is stored of a part with what was recomputed."""
        blobs = [v for s in part.stored for v in s.verdict]
        context = [c for s in part.stored for c in s.context]
        again = np.full(len(blobs), -1, np.int64)
        again[part.judgement.check_row] = np.arange(len(part.judgement.check_row))
        rows = [i for i, blob in enumerate(blobs) if blob is not None or again[i] >= 0]
        rows = [i for i in rows if self._asked(int(part.columns.time[i]))]
        self.found.verdicts += len(rows)
        both = [i for i in rows if blobs[i] is not None and again[i] >= 0]
        for i in sorted(set(rows) - set(both)):
            stored, now = ("a verdict", None) if again[i] < 0 else (None, "a verdict")
            self._row_differs(part.columns, i, self._context(context[i]), [("verdict", stored, now)])
        by_context: dict[int | None, list[int]] = {}
        for i in both:
            by_context.setdefault(context[i], []).append(i)
        for number, some in by_context.items():
            chosen = [blobs[i] or b"" for i in some]
            verdicts = part.judgement.verdicts[again[some]]
            self.compare_rows(self.plan, part.columns.take(some), chosen, number, verdicts)
        self._compare_superseded(part)

    def compare_rows(
        self,
        plan: Plan,
        columns: Columns,
        blobs: Sequence[bytes],
        number: int | None,
        verdicts: npt.NDArray[Any],
    ) -> None:
        """Compare stored verdicts of one context with recomputed ones."""
        context = self._context(number)
        dtype = None if context is None else self._layout(context.layout)
        if context is None or dtype is None or any(len(b) != dtype.itemsize for b in blobs):
            for i, blob in enumerate(blobs):
                self._row_differs(columns, i, context, [("verdict", f"{len(blob)} unreadable bytes", "a verdict")])
            return
        self.found.software[context.software] += len(blobs)
        stored = np.frombuffer(b"".join(blobs), dtype)
        wrong: dict[int, list[tuple[str, object, object]]] = {}
        for epoch in np.unique(verdicts["epoch"]).tolist():
            rows = np.flatnonzero(verdicts["epoch"] == epoch).tolist()
            expected = context_of(plan, int(columns.channel[rows[0]]), epoch, context.software, context.layout)
            for name, was, now in _contexts_differ(context, expected):
                for i in rows:
                    wrong.setdefault(i, []).append((name, was, now))
        for name in _shared(dtype, verdicts.dtype):
            for i in _unequal(stored[name], verdicts[name]).tolist():
                said = _said(name, stored[name][i]), _said(name, verdicts[name][i])
                wrong.setdefault(i, []).append((_path(name), *said))
        for i in sorted(wrong):
            self._row_differs(columns, i, context, wrong[i])

    def _compare_superseded(self, part: _Part) -> None:
        """Check that every superseding verdict names the one before it, whose hash the name is."""
        for stored in part.stored:
            amended = [i for i, v in enumerate(stored.version) if v and self._asked(int(stored.columns.time[i]))]
            for i in amended:
                self._compare_chain(stored.columns.take([i]), stored.ids[i])

    def _compare_chain(self, columns: Columns, reading: int) -> None:
        first = self.connection.execute("SELECT context, verdict FROM reading WHERE id = ?", (reading,)).fetchone()
        later = self.connection.execute(
            "SELECT version, context, verdict, supersedes FROM amendment WHERE reading = ? ORDER BY version", (reading,)
        ).fetchall()
        self.found.superseded += len(later)
        previous = first
        for place, (version, number, verdict, supersedes) in enumerate(later, start=1):
            name = self._name(columns, *previous)
            context = self._context(number)
            if version != place:
                self._row_differs(columns, 0, context, [("version", version, place)])
            if name != supersedes:
                self._row_differs(columns, 0, context, [("supersedes", supersedes, name)])
            previous = (number, verdict)

    def _name(self, columns: Columns, number: int | None, verdict: bytes | None) -> str | None:
        """Return the id of a packed verdict; None when it cannot be read."""
        context = self._context(number)
        dtype = None if context is None else self._layout(context.layout)
        if context is None or dtype is None or verdict is None or len(verdict) != dtype.itemsize:
            return None
        try:
            return next(verdict_lines(columns, np.frombuffer(verdict, dtype), [context]))[0]
        except (ValueError, KeyError, OverflowError):
            return None

    def compare_beyond(self, channel: int, number: int) -> None:
        """Compare readings beyond the lateness horizon: each was judged alone, by the registry of its day."""
        last = 2**63 - 1 if self.end is None else self.end - 1
        horizon = retention.horizon_of(self.connection, number)
        first = max(NEVER if self.start is None else self.start, NEVER if horizon is None else horizon.time) - 1
        first = max(first, NEVER)
        stored = self._read(channel, number, first, last, beyond=True)
        for i, (reading, blob, context) in enumerate(zip(stored.ids, stored.verdict, stored.context, strict=True)):
            columns = stored.columns.take([i])
            judgement = judge(self.plan, fresh(1), columns, alone=True)
            if blob is None and not len(judgement.verdicts):
                continue
            self.found.verdicts += 1
            if blob is None or not len(judgement.verdicts):
                said = (None, "a verdict") if blob is None else ("a verdict", None)
                self._row_differs(columns, 0, self._context(context), [("verdict", *said)])
                continue
            if not self._alike(columns, blob, context, judgement.verdicts):
                row = self.connection.execute("SELECT received_at FROM reading WHERE id = ?", (reading,)).fetchone()
                self._compare_as_of(int(row[0]), columns, blob, context)

    def _alike(self, columns: Columns, blob: bytes, number: int | None, verdicts: npt.NDArray[Any]) -> bool:
        """Return whether one verdict is as the registry of today judges it; counts it if so."""
        trial = replace(self, found=Verification())
        trial.compare_rows(self.plan, columns, [blob], number, verdicts)
        if not trial.found.differing:
            self.found.software += trial.found.software
        return not trial.found.differing

    def _compare_as_of(self, at: int, columns: Columns, blob: bytes, number: int | None) -> None:
        facts = self.plan.facts[int(columns.channel[0])]
        plan = self.plan_as_of(at)
        index = plan.index.get((facts.device, facts.channel))
        if index is None:
            self._row_differs(columns, 0, self._context(number), [("registry", "a channel", None)])
            return
        then = replace(columns, channel=np.array([index], np.int64))
        verdicts = judge(plan, fresh(1), then, alone=True).verdicts
        replace(self, plan=plan).compare_rows(plan, then, [blob], number, verdicts)

    def _row_differs(
        self, columns: Columns, row: int, context: Context | None, fields: list[tuple[str, object, object]]
    ) -> None:
        facts = self.plan.facts[int(columns.channel[row])]
        software = None if context is None else context.software
        self._differs(facts.device, facts.channel, int(columns.time[row]), software, fields)

    def _differs(
        self, device: str, channel: str, time: int, software: str | None, fields: list[tuple[str, object, object]]
    ) -> None:
        self.found.differing += 1
        if self.found.differing > LISTED:
            return
        self.found.differences += [
            Difference(
                device=device, channel=channel, time=time, field=name, stored=was, recomputed=now, software=software
            )
            for name, was, now in fields
        ]

    def _context(self, number: int | None) -> Context | None:
        """Return a context document; None when there is none or it cannot be read."""
        if number is None:
            return None
        if number not in self.contexts:
            row = self.connection.execute("SELECT document FROM context WHERE id = ?", (number,)).fetchone()
            try:
                self.contexts[number] = None if row is None else msgspec.json.decode(row[0], type=Context)
            except (msgspec.DecodeError, TypeError):
                self.contexts[number] = None
        return self.contexts[number]

    def _layout(self, number: int) -> np.dtype[Any] | None:
        if number not in self.layouts:
            row = self.connection.execute("SELECT 1 FROM layout WHERE id = ?", (number,)).fetchone()
            self.layouts[number] = None if row is None else readings.layout(self.connection, number)
        return self.layouts[number]


def _instant(time: int | None) -> str | None:
    return None if time is None else format_instant(time)


def _contexts_differ(stored: Context, expected: Context) -> list[tuple[str, object, object]]:
    """Return the fields in which a stored context is not the plan's; software, layout and site are no rules."""
    names = [n for n in Context.__struct_fields__ if n not in _UNSTATED]
    pairs = [(n, getattr(stored, n), getattr(expected, n)) for n in names]
    return [(n, a, b) for n, a, b in pairs if a != b]


def _shared(dtype: np.dtype[Any], today: np.dtype[Any]) -> list[str]:
    """Return the fields of a stored layout that verdicts have today; one of another software may have had others."""
    return [n for n in dtype.names or () if n in (today.names or ()) and n not in _OF_THE_PLAN]


def _unequal(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the rows whose bytes differ."""
    if a.dtype != b.dtype:
        return np.flatnonzero(~((a == b) | ((a != a) & (b != b))))  # noqa: PLR0124  NaN is absent
    width = a.dtype.itemsize
    left = np.ascontiguousarray(a).view(np.uint8).reshape(len(a), width)
    right = np.ascontiguousarray(b).view(np.uint8).reshape(len(b), width)
    return np.flatnonzero((left != right).any(axis=1))


@lru_cache(maxsize=256)
def _path(name: str) -> str:
    """Return a field's name as records write it: `ewma_statistic` is `detectors.ewma.statistic`."""
    chart = next((d.name for d in detectors() if d.kind == "drift" and name.startswith(f"{d.name}_")), None)
    return name if chart is None else f"detectors.{chart}.{name.removeprefix(chart)[1:]}"


def _said(name: str, value: Any) -> object:
    """Return a packed number as a record says it."""
    plain = value.item()
    if name == "flags":
        return flag_names(plain)
    if name == "conformity":
        known = {c.value: c.name.lower() for c in Conformity}
        return known.get(plain, plain)
    if name.endswith("_onset"):
        return format_instant(plain) if 0 < plain < 2**63 - 1 else None
    if isinstance(plain, float) and not np.isfinite(plain):
        return None if np.isnan(plain) else str(plain)
    return plain
