"""Rows of the ledger as points of InfluxDB (CONTRACTS §8): measurements `reading`, `verdict`, `alarm`. Pure.

Every point carries `shift_ns`: what was added to its time so that readings of one moment do not collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from gateway.alarms.conditions import Severity
from gateway.history.lineprotocol import Field, fields_text, series
from gateway.metrology.conformity import Conformity
from gateway.metrology.instants import format_instant, parse_rfc3339
from gateway.metrology.readings import Quality
from gateway.pipeline.records import Context, flag_names

__all__ = [
    "ReadingRow", "Tags", "alarm_point", "alarm_series", "predicate", "reading_lines", "said_numbers", "verdict_lines",
]  # fmt: skip

_IN_PREDICATE = str.maketrans({"\\": "\\\\", '"': '\\"'})
EXACT = 2**53
"""Up to here every whole number is a float of its own."""

ReadingRow = tuple[Any, ...]
"""id, channel, time, boot, seq, value, reference, reference_u, x, received_at, late, quality, stable, seq_per_device"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The series of one channel, ready for its lines, and the unit of its values."""

    reading: str
    verdict: str
    unit: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, site: str, device: str, channel: str, kind: str, unit: str) -> Tags:
        """Return the series of a channel. Raises Unencodable."""
        tags = {"site": site, "device": device, "channel": channel, "kind": kind}
        return cls(reading=series("reading", tags), verdict=series("verdict", tags), unit=unit, tags=tags)


def predicate(measurement: str, tags: Mapping[str, str]) -> str:
    """Return what a deletion of all points of a measurement with these tags asks for.

    >>> predicate("verdict", {"site": 'the "old" one'})
    '_measurement="verdict" AND site="the \\\\"old\\\\" one"'
    """
    chosen = {"_measurement": measurement, **tags}
    return " AND ".join(f'{k}="{v.translate(_IN_PREDICATE)}"' for k, v in chosen.items())


def reading_lines(rows: Sequence[ReadingRow], tags: Callable[[int, int], Tags], slots: Mapping[int, int]) -> list[str]:
    """Return one line per row; `tags`: (reading id, channel) -> its series; `slots`: the time of those shifted."""
    tails: dict[tuple[object, ...], str] = {}
    lines = []
    for (
        i,
        channel,
        time,
        boot,
        seq,
        value,
        reference,
        reference_u,
        x,
        received_at,
        late,
        quality,
        stable,
        whole,
    ) in rows:
        t = tags(i, channel)
        key = (boot, received_at, late, quality, stable, whole, t.unit)
        tail = tails.get(key)
        if tail is None:
            tail = tails[key] = _reading_tail(*key)
        check = ""
        if reference is not None:
            check = f",reference={reference!r}"
            if reference_u is not None:
                check += f",reference_u={reference_u!r}"
        if x is not None:
            check += f",x={x!r}"
        if seq is not None:
            check += f",seq={seq}.0" if seq <= EXACT else f',seq={float(seq)!r},seq_text="{seq}"'
        slot = slots.get(i, time) if slots else time
        lines.append(f"{t.reading} value={value!r}{check}{tail},shift_ns={slot - time}.0 {slot}")
    return lines


@lru_cache(maxsize=65_536)
def _instant_text(ns: int) -> str:
    return format_instant(ns)


def _reading_tail(
    boot: str | None, received_at: int, late: int, quality: int, stable: int | None, whole: int | None, unit: str
) -> str:
    """Return the fields that many readings share, behind a comma."""
    said: dict[str, Field | None] = {
        "unit": unit or None,
        "quality": Quality(quality).name.lower(),
        "late": late > 0,
        "received_at": _instant_text(received_at),
        "boot": boot,
        "stable": None if stable is None else bool(stable),
        "seq_per_device": True if whole else None,
    }
    return "," + fields_text(said)


_CONFORMITY = {
    Conformity.CONFORMING: "conforming",
    Conformity.NOT_CONFORMING: "not_conforming",
    Conformity.UNDECIDED: "undecided",
}
_CENTERS = (None, "certificate", "learned")


def verdict_lines(
    verdicts: npt.NDArray[Any],
    contexts: Sequence[Context],
    tags: Sequence[Tags],
    times: Sequence[int],
    slots: Sequence[int],
    versions: Sequence[int],
) -> list[str]:
    """Return one line per packed verdict: every number of its layout, each chart's statistics and limit, the codes.

    Absent numbers are left out, as are the charts of checks that were not charted. In a superseding verdict an absent
    text is empty, so that nothing of the superseded one is left standing.
    """
    heads = [
        f"{t.verdict} version={v}.0,shift_ns={s - m}.0" for t, v, s, m in zip(tags, versions, slots, times, strict=True)
    ]
    relative = np.array([k.relative for k in contexts])
    error, reference = verdicts["error"], verdicts["reference"]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        percent = np.where(relative, error, 100.0 * error / np.abs(reference))
    percent[reference == 0.0] = np.nan
    columns = [heads, _numbers("error_percent", percent)]
    shown = {c: ~np.isnan(verdicts[f"{c}_limit"]) for c in _charts(verdicts.dtype)}
    for name in verdicts.dtype.names or ():
        column = verdicts[name]
        of_chart = next((c for c in shown if name.startswith(f"{c}_")), None)
        charted = shown[of_chart] if of_chart else verdicts["charted"]
        if column.dtype == np.float64:
            columns.append(_numbers(name, np.where(charted, column, np.nan) if of_chart else column))
        elif of_chart and column.dtype == np.bool_:
            truth = (f",{name}=false", f",{name}=true")
            columns.append([truth[v] if c else "" for v, c in zip(column.tolist(), charted.tolist(), strict=True)])
        elif of_chart:
            blank = [f',{name}=""' if v else "" for v in versions]
            said = zip(column.tolist(), blank, strict=True)
            columns.append([f',{name}="{_instant_text(v)}"' if v else empty for v, empty in said])
    columns.append(_codes(verdicts, contexts, versions))
    columns.append([f" {s}" for s in slots])
    return list(map("".join, zip(*columns, strict=True)))


@lru_cache(maxsize=64)
def _charts(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Return the charts of a layout: whatever has a signal."""
    return tuple(n.removesuffix("_signal") for n in dtype.names or () if n.endswith("_signal"))


def said_numbers(verdict: Any) -> set[str]:
    """Return the names of the numbers that the point of one packed verdict carries."""
    hidden = tuple(f"{c}_" for c in _charts(verdict.dtype) if np.isnan(verdict[f"{c}_limit"]))
    return {
        name
        for name in verdict.dtype.names
        if verdict[name].dtype == np.float64 and not np.isnan(verdict[name]) and not name.startswith(hidden or ("\0",))
    }


def _numbers(name: str, column: npt.NDArray[Any]) -> list[str]:
    tokens = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
    return ["" if t == "null" else f",{name}={t}" for t in tokens]


def _codes(verdicts: npt.NDArray[Any], contexts: Sequence[Context], versions: Sequence[int]) -> list[str]:
    """Return the text fields, which few distinct checks have of their own, behind a comma."""
    known: dict[tuple[object, ...], str] = {}
    found = []
    for k, version, conformity, mode, learned, unknown, flags, zero in zip(
        contexts,
        versions,
        verdicts["conformity"].tolist(),
        verdicts["mode"].tolist(),
        verdicts["learned_sigma"].tolist(),
        np.isnan(verdicts["sigma"]).tolist(),
        verdicts["flags"].tolist(),
        (verdicts["reference"] == 0.0).tolist(),
        strict=True,
    ):
        key = (id(k), version > 0, conformity, mode, learned, unknown, flags, zero)
        said = known.get(key)
        if said is None:
            absent = "" if version else None
            texts: dict[str, str | None] = {
                "unit": k.unit,
                "error_unit": k.unit if zero else k.error_unit,
                "conformity": _CONFORMITY.get(conformity),
                "center": _CENTERS[mode],
                "sigma_source": None if unknown else "learned" if learned else "declared",
                "flags": ",".join(flag_names(flags)) or None,
                "decision_rule": k.decision_rule,
                "baseline": k.baseline,
                "rule_pack": k.rule_pack,
                "segment": k.segment,
                "settings": k.settings,
                "software": k.software,
            }
            said = known[key] = "," + fields_text({n: absent if t is None else t for n, t in texts.items()})
        found.append(said)
    return found


def alarm_series(event: Mapping[str, Any]) -> str:
    """Return the series of an alarm event; tags that an alarm of the whole site has not are left out."""
    tags = {name: event[name] for name in ("site", "device", "channel", "kind") if event.get(name)}
    return series("alarm", tags)


def alarm_point(event: Mapping[str, Any], slot: int) -> str:
    """Return an alarm event (CONTRACTS §5) as a point at `slot` ns."""
    shift = slot - parse_rfc3339(event["time"])
    said: dict[str, Field | None] = {
        name: event.get(name) for name in ("alarm", "transition", "state", "severity", "reason", "by", "until", "text")
    }
    said["level"] = float(Severity[str(event["severity"]).upper()])
    said["evidence"] = orjson.dumps(event["evidence"]).decode() if event.get("evidence") else None
    said["shift_ns"] = float(shift)
    return f"{alarm_series(event)} {fields_text(said)} {slot}"
