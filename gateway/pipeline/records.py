"""Verdicts and readings as the records of CONTRACTS §4 and §6: views made at the edge, from columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from gateway.drift.charts import detectors
from gateway.metrology.conformity import Conformity
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import EVIDENCE
from gateway.pipeline.checks import FLAGS
from gateway.pipeline.columns import Columns
from gateway.pipeline.plan import Plan
from gateway.registry.model import Kind

__all__ = ["Context", "context_of", "evidence_class", "flag_names", "power_factor_text", "verdict_lines"]


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
        standard=facts.standard,
        baseline=stretch.certificate and stretch.certificate.id,
        rule_pack=stretch.pack and stretch.pack.reference,
        settings=facts.settings,
        software=software,
        segment=None if stretch.segment is None else format_instant(stretch.segment),
        charts=[d.name for d in plan.charts if d.kind == "drift" and np.isfinite(plan.limit[d.name][channel])],
        layout=layout,
    )


def flag_names(flags: int) -> list[str]:
    """Return the names of set flags, in contract order."""
    return [name for flag, name in FLAGS if flags & flag]


def power_factor_text(value: float) -> str | None:
    """Return a signed power factor as people write it: `1`, `0.5i`, `0.8c`; None for NaN.

    >>> power_factor_text(1.0), power_factor_text(0.5), power_factor_text(-0.8)
    ('1', '0.5i', '0.8c')
    """
    if np.isnan(value):
        return None
    size = f"{abs(value):g}"
    return size if abs(value) == 1.0 or value == 0.0 else size + ("i" if value > 0 else "c")


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


def _conditions(c: dict[str, list[Any]], i: int) -> bytes:
    """Return the conditions that were stated, as JSON."""
    found: dict[str, object] = {}
    for name in ("flow_m3h", "current_A", "temperature_C"):
        value = c[name][i]
        if value == value:  # noqa: PLR0124  NaN is absent
            found[name] = value
    power_factor = power_factor_text(c["power_factor"][i])
    if power_factor is not None:
        found["power_factor"] = power_factor
    for name in ("phase", "direction"):
        if c[name][i] is not None:
            found[name] = c[name][i]
    return orjson.dumps(found)


_NUMBERS = (
    "indication", "reference", "reference_u", "x", "zero_error", "error", "error_percent", "U", "mpe", "margin",
    "margin_percent", "p_conforming", "baseline_error", "baseline_U", "en", "residual", "sigma", "z",
)  # fmt: skip
_TEXTS = (
    "time", "seq", "boot", "conditions", "standard", "evidence", "error_unit", "conformity", "sigma_source", "center",
    "flags", "onset",
)  # fmt: skip
_ORDER = (
    "time", "device", "channel", "seq", "boot", "indication", "reference", "reference_u", "unit", "x", "conditions",
    "standard", "evidence", "zero_error", "error", "error_unit", "error_percent", "U", "k", "mpe", "margin",
    "margin_percent", "decision_rule", "conformity", "p_conforming", "baseline", "baseline_error", "baseline_U", "en",
    "residual", "sigma", "sigma_source", "center", "z", "detectors", "rule_pack", "settings", "software", "segment",
    "flags",
)  # fmt: skip


@lru_cache(maxsize=1)
def _slots() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the number slots and the text slots of a line, in the order in which tokens are made."""
    from gateway.pipeline.judge import chart_columns

    charted = tuple(f"{d}_{c}" for d, c, _ in chart_columns() if c != "onset")
    signals = tuple(f"{d.name}_signal" for d in detectors())
    return _NUMBERS + charted, _TEXTS + signals


@lru_cache(maxsize=4096)
def _template(context: bytes, charted: bool) -> tuple[bytes, Callable[[list[bytes]], tuple[bytes, ...]]]:
    """Return the line of a context with a place for each token, and which tokens those are."""
    from gateway.pipeline.judge import chart_columns

    k = msgspec.json.decode(context, type=Context)
    numbers, texts = _slots()
    place = {name: i for i, name in enumerate(numbers + texts)}
    pieces: list[bytes] = []
    chosen: list[int] = []

    def fixed(value: object) -> None:
        pieces.append(orjson.dumps(value).replace(b"%", b"%%"))

    def slot(name: str) -> None:
        pieces.append(b"%b")
        chosen.append(place[name])

    for n, name in enumerate(_ORDER):
        pieces.append((b"," if n else b"{") + b'"' + name.encode() + b'":')
        if name == "k":
            fixed(2)
        elif name != "detectors":
            slot(name) if name in place else fixed(getattr(k, name))
        else:
            pieces.append(b"{")
            for m, chart in enumerate(k.charts if charted else ()):
                pieces.append((b"," if m else b"") + orjson.dumps(chart) + b":{")
                for column in [c for d, c, _ in chart_columns() if d == chart]:
                    pieces.append(orjson.dumps(column) + b":")
                    slot("onset" if column == "onset" else f"{chart}_{column}")
                    pieces.append(b",")
                pieces.append(b'"signal":')
                slot(f"{chart}_signal")
                pieces.append(b"}")
            pieces.append(b"}")
    pieces.append(b"}")
    return b"".join(pieces), itemgetter(*chosen)


_NULL = b"null"
_TRUTH = (b"false", b"true")


@lru_cache(maxsize=65_536)
def _quoted(text: str | None) -> bytes:
    return _NULL if text is None else orjson.dumps(text)


@lru_cache(maxsize=1024)
def _flags_json(flags: int) -> bytes:
    return orjson.dumps(flag_names(flags))


def verdict_lines(
    columns: Columns,
    verdicts: npt.NDArray[Any],
    contexts: Sequence[Context],
    supersedes: Sequence[str | None] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Yield (id, JSON line) for each check; `columns`, `verdicts` and `contexts` row by row.

    The id is the hash of everything the verdict says but which one it supersedes: the same readings judged by the
    same rules have the same verdict ids wherever and whenever they are judged.
    """
    if not len(verdicts):
        return
    known: dict[int, tuple[Context, bytes]] = {}
    charted = verdicts["charted"].tolist()
    for i, tokens in enumerate(_tokens(columns, verdicts, contexts)):
        k = contexts[i]
        if id(k) not in known:
            known[id(k)] = (k, msgspec.json.encode(k))
        template, chosen = _template(known[id(k)][1], charted[i])
        line = template % chosen(tokens)
        name = blake2b(line, digest_size=12).hexdigest()
        previous = b"null" if supersedes is None else _quoted(supersedes[i])
        yield name, b'{"id":"%b","supersedes":%b,%b' % (name.encode(), previous, line[1:])


def _tokens(columns: Columns, verdicts: npt.NDArray[Any], contexts: Sequence[Context]) -> Iterator[list[bytes]]:
    """Yield the JSON tokens of each check: numbers (NaN is null), then texts."""
    numbers, _ = _slots()
    matrix = np.empty((len(verdicts), len(numbers)))
    relative = np.array([k.error_unit == "%" and k.unit != "%" for k in contexts])
    reference, error = verdicts["reference"], verdicts["error"]
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = np.where(relative, error, 100.0 * error / np.abs(reference))
    for n, name in enumerate(numbers):
        matrix[:, n] = np.where(reference == 0.0, np.nan, percent) if name == "error_percent" else verdicts[name]
    rows = orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    plain = (
        np.isnan(columns.flow_m3h) & np.isnan(columns.current_A) & np.isnan(columns.temperature_C)
        & np.isnan(columns.power_factor) & (columns.phase == None) & (columns.direction == None)  # noqa: E711
    ).tolist()  # fmt: skip
    names = ("flow_m3h", "current_A", "temperature_C", "power_factor", "phase", "direction")
    c = {name: getattr(columns, name).tolist() for name in names}
    onset = [_quoted(format_instant(t)) if t else _NULL for t in verdicts["cusum_onset"].tolist()]
    signals = zip(*(verdicts[f"{d.name}_signal"].tolist() for d in detectors()), strict=True)
    sigma_known = (~np.isnan(verdicts["sigma"])).tolist()
    learned = verdicts["learned_sigma"].tolist()
    texts = zip(
        rows, columns.time.tolist(), columns.seq.tolist(), columns.boot.tolist(), plain, columns.standard.tolist(),
        columns.evidence.tolist(), reference.tolist(), contexts, verdicts["conformity"].tolist(), sigma_known, learned,
        verdicts["mode"].tolist(), verdicts["flags"].tolist(), onset, signals, strict=True,
    )  # fmt: skip
    for i, (row, t, seq, boot, bare, standard, evidence, r, k, conform, has, own, mode, flags, on, signal) in enumerate(
        texts
    ):
        tokens = row.split(b",")
        tokens += (
            b'"%b"' % format_instant(t).encode(),
            b"%d" % seq if seq >= 0 else _NULL,
            _quoted(boot),
            b"{}" if bare else _conditions(c, i),
            _quoted(standard or k.standard),
            _quoted(evidence_class(evidence, k.kind, r)),
            _quoted(k.unit if r == 0.0 else k.error_unit),
            _quoted(_CONFORMITY[conform]),
            (b'"learned"' if own else b'"declared"') if has else _NULL,
            _quoted(_MODES[mode]),
            _flags_json(flags),
            on,
            *[_TRUTH[x] for x in signal],
        )
        yield tokens
