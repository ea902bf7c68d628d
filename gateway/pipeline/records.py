"""Verdicts and readings as the records of CONTRACTS §4 and §6: views made at the edge, from columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import repeat
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from gateway.drift.charts import detectors
from gateway.metrology.conformity import Conformity
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import EVIDENCE, power_factor_text
from gateway.pipeline.checks import FLAGS
from gateway.pipeline.columns import Columns, Ints
from gateway.pipeline.plan import Plan
from gateway.registry.model import Kind

__all__ = ["Context", "context_of", "evidence_class", "flag_names", "in_contract_order", "verdict_lines"]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict hangs on besides its numbers; stored once per distinct combination."""

    device: str
    channel: str
    site: str | None
    kind: str
    unit: str
    error_unit: str
    decision_rule: str
    standard: str | None
    baseline: str | None
    rule_pack: str | None
    relative: bool
    settings: str
    software: str
    segment: str | None
    charts: list[str]
    layout: int = 0


def context_of(plan: Plan, channel: int, epoch: int, software: str, layout: int = 0) -> Context:
    """Return the context of verdicts of this channel in this epoch."""
    facts, stretch = plan.facts[channel], plan.epochs[epoch]
    return Context(
        device=facts.device,
        channel=facts.channel,
        site=facts.site,
        kind=facts.kind.value,
        unit=facts.unit,
        error_unit=facts.error_unit,
        decision_rule=facts.decision.value,
        relative=bool(plan.relative[channel]),
        standard=facts.standard,
        baseline=None if stretch.certificate is None else stretch.certificate.id,
        rule_pack=None if stretch.pack is None else stretch.pack.reference,
        settings=stretch.settings,
        software=software,
        segment=None if stretch.segment is None else format_instant(stretch.segment),
        charts=[d.name for d in plan.charts if d.kind == "drift" and d.name in stretch.charts],
        layout=layout,
    )


def flag_names(flags: int) -> list[str]:
    """Return the names of set flags, in contract order."""
    return [name for flag, name in FLAGS if flags & flag]


def evidence_class(code: int, kind: str, reference: float) -> str:
    """Return the evidence class of a check: as sent, else zero at R = 0, check_weight for scales, reference_meter."""
    if code >= 0:
        return EVIDENCE[code]
    if reference == 0.0:
        return "zero"
    return "check_weight" if kind == Kind.WEIGHING else "reference_meter"


_CONFORMITY = {
    Conformity.CONFORMING: "conforming",
    Conformity.NOT_CONFORMING: "not_conforming",
    Conformity.UNDECIDED: "undecided",
    Conformity.UNKNOWN: None,
}
_MODES = (None, "certificate", "learned")


def _conditions(c: Columns) -> list[str]:
    """Return the conditions that were stated, as JSON."""
    stated = np.zeros(len(c), np.bool_)
    for name in ("flow_m3h", "current_A", "temperature_C", "power_factor"):
        stated |= ~np.isnan(getattr(c, name))
    for name in ("phase", "direction"):
        stated |= getattr(c, name) != None  # noqa: E711  element by element
    texts = ["{}"] * len(c)
    for i in np.flatnonzero(stated).tolist():
        found: dict[str, object] = {}
        for name in ("flow_m3h", "current_A", "temperature_C"):
            value = float(getattr(c, name)[i])
            if not math.isnan(value):
                found[name] = value
        power_factor = power_factor_text(float(c.power_factor[i]))
        if power_factor is not None:
            found["power_factor"] = power_factor
        for name in ("phase", "direction"):
            text = getattr(c, name)[i]
            if text is not None:
                found[name] = text
        texts[i] = orjson.dumps(found).decode()
    return texts


_NUMBERS = (
    "indication", "reference", "reference_u", "x", "zero_error", "error", "error_percent", "U", "mpe", "margin",
    "margin_percent", "p_conforming", "baseline_error", "baseline_U", "en", "residual", "sigma", "z",
)  # fmt: skip
_TEXTS = (
    "time", "seq", "boot", "conditions", "standard", "evidence", "error_unit", "conformity", "sigma_source", "center",
    "flags",
)  # fmt: skip
_ORDER = (
    "time", "device", "channel", "seq", "boot", "indication", "reference", "reference_u", "unit", "x", "conditions",
    "standard", "evidence", "zero_error", "error", "error_unit", "error_percent", "U", "k", "mpe", "margin",
    "margin_percent", "decision_rule", "conformity", "p_conforming", "baseline", "baseline_error", "baseline_U", "en",
    "residual", "sigma", "sigma_source", "center", "z", "detectors", "rule_pack", "settings", "software", "segment",
    "flags",
)  # fmt: skip


@lru_cache(maxsize=2)
def _slots(optional: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the number slots and the text slots of a line, in the order in which tokens are made.

    `optional`: whether its layout has the columns of optional charts.
    """
    columns = _columns(optional)
    numbers = tuple(f"{d}_{c}" for d, c, _ in columns if c != "onset")
    onsets = tuple(f"{d}_{c}" for d, c, _ in columns if c == "onset")
    return _NUMBERS + numbers, (*_TEXTS, *onsets, *(f"{name}_signal" for name in _charts_in(optional)))


def _columns(optional: bool) -> tuple[tuple[str, str, Any], ...]:
    from gateway.pipeline.judge import chart_columns

    return chart_columns() + (chart_columns(optional=True) if optional else ())


def _charts_in(optional: bool) -> list[str]:
    return [d.name for d in detectors() if optional or not d.optional]


@lru_cache(maxsize=4096)
def _template(
    context: bytes, charted: bool, extra: bool, optional: bool
) -> tuple[list[str], Callable[[Sequence[str]], tuple[str, ...]]]:
    """Return the pieces of a context's line, every other one a place for a token, and which tokens go there."""
    k = msgspec.json.decode(context, type=Context)
    numbers, texts = _slots(optional)
    shown = [d.name for d in detectors() if (extra if d.optional else charted)]
    place = {name: i for i, name in enumerate(numbers + texts)}
    pieces = [""]
    chosen: list[int] = []

    def put(text: str) -> None:
        pieces[-1] += text

    def slot(name: str) -> None:
        chosen.append(place[name])
        pieces.extend(("", ""))

    for n, name in enumerate(_ORDER):
        put(f'{"," if n else "{"}"{name}":')
        if name in place:
            slot(name)
        elif name == "k":
            put("2")
        elif name != "detectors":
            put(orjson.dumps(getattr(k, name)).decode())
        else:
            put("{")
            for m, chart in enumerate(in_contract_order(name for name in k.charts if name in shown)):
                put(f'{"," if m else ""}"{chart}":{{')
                for p, column in enumerate(_reported(c for d, c, _ in _columns(optional) if d == chart)):
                    put(f'{"," if p else ""}"{column}":')
                    slot(f"{chart}_{column}")
                put("}")
            put("}")
    put("}")
    return pieces, itemgetter(*chosen)


def in_contract_order(charts: Iterable[str]) -> list[str]:
    """Return names of charts in the order of CONTRACTS §4, others after them by name.

    >>> in_contract_order(["cusum", "ewma", "other", "shewhart"])
    ['shewhart', 'ewma', 'cusum', 'other']
    """
    return sorted(charts, key=lambda name: (_CHARTS.index(name) if name in _CHARTS else len(_CHARTS), name))


def _reported(columns: Iterable[str]) -> list[str]:
    """Return what a chart reports: its statistics and limit, whether it signals, then onset and size."""
    return sorted([*columns, "signal"], key=lambda name: (name in {"onset", "size"}, name == "signal"))


_CHARTS = ("shewhart", "ewma", "cusum")
_TRUTH = ("false", "true")


@lru_cache(maxsize=65_536)
def _quoted(text: str | None) -> str:
    return "null" if text is None else orjson.dumps(text).decode()


@lru_cache(maxsize=1024)
def _flags_json(flags: int) -> str:
    return orjson.dumps(flag_names(flags)).decode()


def verdict_lines(
    columns: Columns,
    verdicts: npt.NDArray[Any],
    contexts: Sequence[Context],
    supersedes: Sequence[str | None] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Yield (id, JSON line) for each check; `columns`, `verdicts` and `contexts` row by row.

    The id is the hash of everything the verdict says but which one it supersedes: the same readings judged by the
    same rules have the same verdict ids wherever and whenever they are judged. Lines are put together from tokens
    made column by column: as documents, one by one, they would cost three times as much.
    """
    if not len(verdicts):
        return
    known: dict[int, tuple[Context, bytes]] = {}
    previous = [b"null"] * len(verdicts) if supersedes is None else [_quoted(name).encode() for name in supersedes]
    tokens = zip(*_token_columns(columns, verdicts, contexts), strict=True)
    optional, extra = _optional(verdicts)
    for row, k, charted, more, before in zip(
        tokens, contexts, verdicts["charted"].tolist(), extra, previous, strict=True
    ):
        if id(k) not in known:
            known[id(k)] = (k, msgspec.json.encode(k))
        template, chosen = _template(known[id(k)][1], charted, more, optional)
        pieces = template.copy()
        pieces[1::2] = chosen(row)
        line = "".join(pieces).encode()
        name = sha256(line).hexdigest()[:24]
        end = line.rindex(b',"flags":')
        yield name, b'{"id":"%b",%b,"supersedes":%b%b' % (name.encode(), line[1:end], before, line[end:])


def _optional(verdicts: npt.NDArray[Any]) -> tuple[bool, Iterable[bool]]:
    """Return whether verdicts have columns of optional charts, and for each whether these say anything."""
    limits = [
        f"{d.name}_limit" for d in detectors() if d.optional and f"{d.name}_limit" in (verdicts.dtype.names or ())
    ]
    if not limits:
        return False, repeat(False, len(verdicts))
    return True, np.any([~np.isnan(verdicts[name]) for name in limits], axis=0).tolist()


def _token_columns(columns: Columns, verdicts: npt.NDArray[Any], contexts: Sequence[Context]) -> list[list[str]]:
    """Return the JSON tokens of the checks, column by column: numbers (NaN is null), then texts, as in `_slots`."""
    optional, _ = _optional(verdicts)
    numbers, _ = _slots(optional)
    relative = np.array([k.relative for k in contexts])
    reference, error = verdicts["reference"], verdicts["error"]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        percent = np.where(relative, error, 100.0 * error / np.abs(reference))
    percent[reference == 0.0] = np.nan
    found = [_numbers(percent if name == "error_percent" else verdicts[name]) for name in numbers]
    zero = (reference == 0.0).tolist()
    sigma = np.where(np.isnan(verdicts["sigma"]), 0, np.where(verdicts["learned_sigma"], 2, 1)).tolist()
    evidence = zip(columns.evidence.tolist(), contexts, reference.tolist(), strict=True)
    return [
        *found,
        _instants(columns.time, absent=None),
        [str(n) if n >= 0 else "null" for n in columns.seq.tolist()],
        [_quoted(b) for b in columns.boot.tolist()],
        _conditions(columns),
        [_quoted(s or k.standard) for s, k in zip(columns.standard.tolist(), contexts, strict=True)],
        [_quoted(evidence_class(code, k.kind, r)) for code, k, r in evidence],
        [_quoted(k.unit if z else k.error_unit) for z, k in zip(zero, contexts, strict=True)],
        [_quoted(_CONFORMITY[c]) for c in verdicts["conformity"].tolist()],
        [_SIGMA_SOURCES[s] for s in sigma],
        [_quoted(_MODES[m]) for m in verdicts["mode"].tolist()],
        [_flags_json(f) for f in verdicts["flags"].tolist()],
        *(_instants(verdicts[f"{d}_{c}"]) for d, c, _ in _columns(optional) if c == "onset"),
        *([_TRUTH[v] for v in verdicts[f"{name}_signal"].tolist()] for name in _charts_in(optional)),
    ]


_SIGMA_SOURCES = ("null", '"declared"', '"learned"')


def _instants(column: Ints, absent: int | None = 0) -> list[str]:
    """Return instants as JSON, each different one made once; `absent` is null."""
    moments = column.tolist()
    texts = {t: "null" if t == absent else f'"{format_instant(t)}"' for t in set(moments)}
    return [texts[t] for t in moments]


def _numbers(column: npt.NDArray[Any]) -> list[str]:
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
