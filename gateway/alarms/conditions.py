"""The machine's side of an alarm: a condition that rises at once, escalates, eases and falls with hysteresis and dwell.

A condition is a function of the readings in event time, so late data gives the same conditions as sorted data.
Severities follow METROLOGY §5.7. What a rule asks for is a wanted level: a severity, 0 for calm, HOLD for neither
(still near the limit: nothing rises, nothing falls).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

__all__ = ["CONDITION_DTYPE", "HOLD", "RULES", "AlarmKind", "Condition", "Rule", "Severity", "Transition", "step"]


class Severity(IntEnum):
    """How grave: 0 is no alarm."""

    NONE = 0
    INFO = 1
    WARNING = 2
    MAJOR = 3
    CRITICAL = 4

    @property
    def text(self) -> str:
        """The contract's word."""
        return self.name.lower()


class AlarmKind(StrEnum):
    """What an alarm is about (CONTRACTS §5)."""

    DRIFT = "drift"
    MPE = "mpe"
    FORECAST = "forecast"
    SILENT = "silent"
    STUCK = "stuck"
    NOISY = "noisy"
    RANGE = "range"
    GAP = "gap"
    CLOCK = "clock"
    IDENTITY = "identity"
    STANDARD = "standard"
    SYSTEM = "system"


class Transition(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    ESCALATED = "escalated"
    EASED = "eased"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    CLEARED = "cleared"


HOLD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a kind falls: after `calm` calm readings in a row, not before `dwell_ns` have passed since it rose."""

    calm: int
    dwell_ns: int


MINUTE = 60 * 10**9

RULES: dict[AlarmKind, Rule] = {
    AlarmKind.DRIFT: Rule(calm=3, dwell_ns=15 * MINUTE),
    AlarmKind.MPE: Rule(calm=3, dwell_ns=24 * 60 * MINUTE),
    AlarmKind.FORECAST: Rule(calm=3, dwell_ns=24 * 60 * MINUTE),
    AlarmKind.SILENT: Rule(calm=1, dwell_ns=0),
    AlarmKind.STUCK: Rule(calm=3, dwell_ns=15 * MINUTE),
    AlarmKind.NOISY: Rule(calm=3, dwell_ns=15 * MINUTE),
    AlarmKind.RANGE: Rule(calm=3, dwell_ns=15 * MINUTE),
    AlarmKind.GAP: Rule(calm=10, dwell_ns=15 * MINUTE),
}
"""The kinds that readings decide, in the order in which they are stepped."""

CONDITION_DTYPE = np.dtype(
    [
        (f"{kind}_{name}", code)
        for kind in RULES
        for name, code in (("level", np.int8), ("calm", np.int16), ("since", np.int64))
    ]
)
"""A channel's conditions: severity, calm readings so far, and when it rose (ns)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition: its level now, calm readings in a row, and since when (ns, event time)."""

    level: int = 0
    calm: int = 0
    since: int = 0

    @classmethod
    def of(cls, state: Any, kind: AlarmKind) -> Condition:
        """Read one condition from a channel's state."""
        return cls(
            level=int(state[f"{kind}_level"]), calm=int(state[f"{kind}_calm"]), since=int(state[f"{kind}_since"])
        )

    def store(self, state: Any, kind: AlarmKind) -> None:
        """Write this condition into a channel's state."""
        state[f"{kind}_level"], state[f"{kind}_calm"], state[f"{kind}_since"] = self.level, self.calm, self.since


def step(  # noqa: PLR0911  one line per transition reads best
    condition: Condition, wanted: int, time: int, rule: Rule
) -> tuple[Condition, Transition | None]:
    """Return the condition after one reading at `time` (ns) that asks for `wanted`, and what happened to it.

    >>> c, t = step(Condition(), Severity.WARNING, 5, RULES[AlarmKind.SILENT])
    >>> c.level, t.value
    (2, 'raised')
    >>> step(c, 0, 9, RULES[AlarmKind.SILENT])[1].value
    'cleared'
    """
    level = condition.level
    if wanted > level:
        if level:
            return Condition(level=int(wanted), since=condition.since), Transition.ESCALATED
        return Condition(level=int(wanted), since=time), Transition.RAISED
    if not level:
        return condition, None
    if wanted in {HOLD, level}:
        return (condition if not condition.calm else Condition(level=level, since=condition.since)), None
    calm = min(condition.calm + 1, 30_000)
    if calm < rule.calm or time - condition.since < rule.dwell_ns:
        return Condition(level=level, calm=calm, since=condition.since), None
    if wanted:
        return Condition(level=int(wanted), since=condition.since), Transition.EASED
    return Condition(), Transition.CLEARED
