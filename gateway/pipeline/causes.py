"""Which supplementary rules a drift alarm rests on: told with the alarm, since a verdict keeps only that it signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gateway.alarms.conditions import AlarmKind
from gateway.drift import Readout
from gateway.pipeline.checks import Checks
from gateway.pipeline.columns import Ints
from gateway.pipeline.plan import Plan
from gateway.pipeline.watch import Change

__all__ = ["with_causes"]


def with_causes(
    plan: Plan, changes: Sequence[Change], checks: Checks, charted: Ints, readouts: Mapping[str, Readout]
) -> list[Change]:
    """Return the changes, drift alarms with the names of the rules that signalled as evidence `rules`.

    `charted`: the rows of `checks` the readouts speak of, ascending.
    """
    told = [(d, r.causes) for d in plan.charts if (r := readouts.get(d.name)) is not None and r.causes is not None]
    if not told:
        return list(changes)
    out = []
    reading = checks.row[charted]
    places = {int(reading[i]): i for _, causes in told for i in np.flatnonzero(causes).tolist()}
    for change in changes:
        place = places.get(change.row, -1)
        if change.kind is AlarmKind.DRIFT and change.level and change.row >= 0 and place >= 0:
            names = [name for d, causes in told for bit, name in enumerate(d.causes) if causes[place] >> bit & 1]
            change = replace(change, evidence={**change.evidence, "rules": names})  # noqa: PLW2901  the same change
        out.append(change)
    return out
