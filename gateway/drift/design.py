"""Limits from a false-alarm budget: the run lengths of `gateway.drift.runlength`, inverted.

A site allows so many false alarms in a time. Every channel gets an equal share, so in control the charts of a channel
together may signal once in channels · checks per day / budget per day checks. Charts share that equally: each gets as
many times that run length as there are charts. 1/ARL of a union is at most the sum of 1/ARL of its members but for the
first few checks, and charts on the same checks often signal together, so the union keeps within its share
(`bench/drift.py` shows by how much).

Where a centre or σ is uncertain, the run length a chart must keep is 1 over the mean of 1/ARL over what they may be
(`gateway.drift.uncertain`). `gateway.design` calls, once per distinct (share, knowledge),

    design_for(arl, known=Knowledge.of(u_c, sigma_checks), parameters=parameters)

with u_c in σ: 0 for a centre that claims nothing else, √((U/k)² + (reference_u/2)²)/σ (at most 0.2 under `auto`) for a
certificate centre, 1/√learn for a learned one; sigma_checks = learn where σ is learned, else 0. All four charts, noise
included, share `arl`. Without `parameters` a CUSUM keeps k = 0.5 (and the noise chart its 1.848) unless its centre (σ)
is so uncertain that a larger k finds a change in half the checks; then it gets that k. A redesign passes the parameters
of the design before, such as {"cusum": {"k": 0.5}, "noise": {"k": 1.848}}: a chart's history hangs on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from gateway.drift.runlength import TooLong, cusum_arl, ewma_arl, noise_arl, shewhart_arl, siegmund_arl
from gateway.drift.uncertain import ALLOWANCES, EXACT, Knowledge, mean_rate
from gateway.errors import WrongUse

__all__ = [
    "CHARTS", "DAYS", "DEFAULT_CHECKS_PER_DAY", "LONGEST_DESIGN", "SHORTEST", "Budget", "ChannelDesign", "ChartDesign",
    "Delay", "Knowledge", "SiteDesign", "allowance", "as_written", "charts_for", "cusum_limit", "design_for",
    "detectable", "ewma_limit", "limit_for", "mean_limit", "noise_limit", "shewhart_limit",
]  # fmt: skip

MEANS = ("shewhart", "ewma", "cusum")
CHARTS = (*MEANS, "noise")
DEFAULT_CHECKS_PER_DAY = 1.0
"""Taken for a channel whose cadence is unknown."""

SHORTEST = 20.0
"""Run length in control below which a channel's charts say nothing, however generous the budget."""

LONGEST_DESIGN = 1e11

WIDE = 100.0
"""From this h on a CUSUM's delays are Siegmund's approximation, within 1 in 1000."""

DAYS: Mapping[str, float] = {"day": 1.0, "week": 7.0, "month": 30.4375, "year": 365.25}

PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "shewhart": {},
    "ewma": {"lambda": 0.2},
    "cusum": {"k": 0.5},
    "noise": {"k": 1.848, "cap": 10.0},
}
"""Of each chart all parameters but the limit: the textbook ones of `gateway.drift`."""

LIMIT_NAMES: Mapping[str, str] = {"shewhart": "L", "ewma": "L", "cusum": "h", "noise": "h"}

SHIFTS = (0.5, 1.0, 2.0)
RATIOS = (1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """False alarms allowed for the whole site in one `per` (day, week, month of 30.4375 d, year)."""

    alarms: float
    per: str

    @property
    def per_day(self) -> float:
        """Return the false alarms allowed in a day."""
        return self.alarms / DAYS[self.per]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget of a text such as `1/month` or `0.5/day`; raises WrongUse."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*/\s*(day|week|month|year)\s*", text)
        alarms = float(match[1]) if match else 0.0
        if not match or not 0.0 < alarms < math.inf:
            raise WrongUse(f"{text!r} is not a false-alarm budget", remedy='write e.g. "1/month" (day week month year)')
        return cls(alarms=alarms, per=match[2])

    def __str__(self) -> str:
        return f"{self.alarms:g}/{self.per}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Mean checks until the signal after a change of `size`: a shift in σ, for the noise chart a ratio of σ."""

    size: float
    checks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartDesign:
    """One chart: its parameters, its limit (in σ; noise: in v), run length in control and delays, in checks.

    `arl0` is 1 over the mean false-alarm rate; `delays` hold where centre and σ happen to be right.
    """

    chart: str
    parameters: Mapping[str, float]
    limit_name: str
    limit: float
    arl0: float
    delays: tuple[Delay, ...]

    @property
    def settings(self) -> dict[str, float]:
        """Return all parameters by their contract names, the limit with them."""
        return {**self.parameters, self.limit_name: self.limit}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDesign:
    """The charts of one channel; `arl0` is the run length in control that their union keeps at least, in checks."""

    checks_per_day: float
    arl0: float
    charts: tuple[ChartDesign, ...]

    @property
    def false_alarms_per_day(self) -> float:
        """Return at most how many false alarms a day these charts raise."""
        return self.checks_per_day / self.arl0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDesign:
    """The charts of all channels, in the order the channels were given."""

    budget: Budget
    channels: tuple[ChannelDesign, ...]

    @property
    def false_alarms_per_day(self) -> float:
        """Return at most how many false alarms a day the site raises."""
        return math.fsum(c.false_alarms_per_day for c in self.channels)


def limit_for(run_length: Callable[[float], float], arl: float, guess: float, tolerance: float = 1e-6) -> float:
    """Return the limit with run length `arl` (relative tolerance); ln ARL, nearly straight, is solved by secants.

    The root is bracketed from `guess` outwards and the bracket kept (Illinois: Dowell & Jarratt 1971).
    """

    def excess(limit: float) -> float:
        try:
            return math.log(run_length(limit) / arl)
        except TooLong:
            return math.inf

    low = high = guess
    at_low = at_high = excess(guess)
    for factor in (1.1, 1.2, 1.5, 2.0, 4.0, *([8.0] * 20)):
        if at_low > 0.0:
            low, high, at_high = low / factor, low, at_low
            at_low = excess(low)
        elif at_high < 0.0:
            low, high, at_low = high, high * factor, at_high
            at_high = excess(high)
    for _ in range(60):
        bisect = math.isinf(at_high) or at_high == at_low
        middle = (low + high) / 2.0 if bisect else high - at_high * (high - low) / (at_high - at_low)
        at_middle = excess(middle)
        if abs(at_middle) < tolerance or high - low < 1e-9 * high:
            return middle
        if at_middle < 0.0:
            low, at_low, at_high = middle, at_middle, at_high / 2.0
        else:
            high, at_high, at_low = middle, at_middle, at_low / 2.0
    return high


def _within_reach(arl: float) -> None:
    if not 1.0 < arl <= LONGEST_DESIGN:
        raise WrongUse(f"no limit gives a run length of {arl:.4g} checks", remedy=f"ask for 1 to {LONGEST_DESIGN:.0e}")


def shewhart_limit(arl: float) -> float:
    """Return L in σ of the two-sided Shewhart chart with in-control run length `arl`."""
    _within_reach(arl)
    return -NormalDist().inv_cdf(0.5 / arl)


@lru_cache(maxsize=1024)
def ewma_limit(lam: float, arl: float) -> float:
    """Return L of the two-sided EWMA with time-varying limits and in-control run length `arl`."""
    return limit_for(lambda L: ewma_arl(lam, L), arl, max(shewhart_limit(arl) - 0.05, 0.1))


@lru_cache(maxsize=1024)
def cusum_limit(k: float, arl: float) -> float:
    """Return h in σ of the two-sided CUSUM with in-control run length `arl`; first guess from Siegmund (1985)."""
    _within_reach(arl)
    guess = math.sqrt(2.0 * arl) if k == 0.0 else math.log1p(4.0 * k * k * arl) / (2.0 * k)
    return limit_for(lambda h: cusum_arl(k, h), arl, max(guess - 1.166, 0.2))


@lru_cache(maxsize=1024)
def noise_limit(k: float, cap: float, arl: float) -> float:
    """Return h of the noise chart with in-control run length `arl` in checks, within 1 in 100."""
    _within_reach(arl)
    guess = max((math.log(arl) - 2.85) / 0.449, 1.0)
    return limit_for(lambda h: noise_arl(k, h, cap), max(arl, 4.0), guess, tolerance=0.003)


def mean_limit(chart: str, parameters: tuple[float, ...], arl: float, known: Knowledge, guess: float) -> float:
    """Return the limit with a mean false-alarm rate of 1/arl per check over `known` (relative tolerance 1 in 1000)."""

    def length(limit: float) -> float:
        rate = mean_rate(chart, parameters, limit, known)
        if rate * LONGEST_DESIGN < 1.0:
            raise TooLong
        return 1.0 / rate

    return limit_for(length, arl, guess, tolerance=1e-3)


def as_written(limit: float) -> float:
    """Return a limit to six significant digits.

    Linear algebra differs in its last digits from processor to processor; a limit must not, for verdicts state it.

    >>> as_written(4.253140857194028) == as_written(4.2531408571939515) == 4.25314
    True
    """
    return float(f"{limit:.6g}")


@lru_cache(maxsize=4096)
def _chart(chart: str, parameters: tuple[float, ...], arl: float, known: Knowledge) -> ChartDesign:
    """Design one chart for a run length in control; raises WrongUse for a chart without a run length."""
    names = PARAMETERS[chart]
    limit = _exact_limit(chart, parameters, arl)
    if not known.exact:
        limit = max(limit, mean_limit(chart, parameters, arl, known, limit))
    limit = as_written(limit)
    sizes, none = (RATIOS, 1.0) if chart == "noise" else (SHIFTS, 0.0)
    delays = tuple(Delay(size=s, checks=_delay(chart, parameters, limit, s)) for s in sizes)
    length = _delay(chart, parameters, limit, none) if known.exact else 1.0 / mean_rate(chart, parameters, limit, known)
    return ChartDesign(
        chart=chart, parameters=dict(zip(names, parameters, strict=True)), limit_name=LIMIT_NAMES[chart], limit=limit,
        arl0=length, delays=delays,
    )  # fmt: skip


def _exact_limit(chart: str, parameters: tuple[float, ...], arl: float) -> float:
    if chart == "noise":
        return noise_limit(*parameters, arl)
    if chart == "ewma":
        return ewma_limit(*parameters, arl)
    return cusum_limit(*parameters, arl) if chart == "cusum" else shewhart_limit(arl)


def _run_length(chart: str, parameters: tuple[float, ...], limit: float) -> Callable[[float], float]:
    """Return the run length after a shift in σ, of the noise chart after a ratio of σ."""
    if chart == "noise":
        return lambda ratio: noise_arl(parameters[0], limit, parameters[1], ratio)
    if chart == "ewma":
        return lambda shift: ewma_arl(parameters[0], limit, shift)
    if chart == "cusum" and limit < WIDE:
        return lambda shift: cusum_arl(parameters[0], limit, shift)
    if chart == "cusum":
        return lambda shift: float(siegmund_arl(np.array(parameters), np.array([limit]), np.array([shift]))[0])
    return lambda shift: shewhart_arl(limit, shift)


def _delay(chart: str, parameters: tuple[float, ...], limit: float, change: float) -> float:
    """Return the run length after a change, infinite where it is beyond what can be computed."""
    try:
        return _run_length(chart, parameters, limit)(change)
    except TooLong:
        return math.inf


@lru_cache(maxsize=1024)
def allowance(chart: str, arl: float, known: Knowledge) -> float:
    """Return k of a CUSUM or noise chart: the textbook one, or the quickest of `ALLOWANCES` if twice as quick.

    Quick is by the checks to find 1 σ, for the noise chart a doubled σ.
    """
    usual = PARAMETERS[chart]["k"]
    if (known.centre_u if chart == "cusum" else known.sigma_checks) == 0:
        return usual
    change = 1.0 if chart == "cusum" else 2.0

    def checks(k: float) -> float:
        parameters = (k,) if chart == "cusum" else (k, PARAMETERS[chart]["cap"])
        limit = mean_limit(chart, parameters, arl, known, _exact_limit(chart, parameters, arl))
        return _delay(chart, parameters, limit, change)

    textbook = checks(usual)
    if textbook < 2.0 * _delay_if_exact(chart, arl, change):
        return usual
    delays = {k: checks(k) for k in ALLOWANCES[chart]}
    quickest = min(delays, key=lambda k: delays[k])
    return quickest if delays[quickest] < textbook / 2.0 else usual


def _delay_if_exact(chart: str, arl: float, change: float) -> float:
    parameters = tuple(PARAMETERS[chart].values())
    return _delay(chart, parameters, _exact_limit(chart, parameters, arl), change)


def design_for(
    arl: float, charts: Sequence[str] = CHARTS, parameters: Mapping[str, Mapping[str, float]] = PARAMETERS,
    known: Knowledge = EXACT,
) -> tuple[ChartDesign, ...]:  # fmt: skip
    """Return the charts whose union signals falsely at most once in `arl` checks in the mean over `known`, each n·arl.

    `parameters` by chart; what they leave out is textbook, but for the `allowance` of an uncertain centre. Raises
    WrongUse for an unknown chart.
    """
    unknown = [c for c in charts if c not in PARAMETERS]
    if unknown or not charts:
        raise WrongUse(f"no run length is known for chart {unknown[0] if unknown else '(none)'!r}",
                       remedy=f"choose of {' '.join(CHARTS)}")  # fmt: skip
    each = len(charts) * arl
    chosen = {c: {**PARAMETERS[c], **parameters.get(c, {})} for c in charts}
    for chart in {"cusum", "noise"} & set(charts):
        if parameters.get(chart, PARAMETERS[chart]) is PARAMETERS[chart]:
            chosen[chart]["k"] = allowance(chart, each, known)
    return tuple(_chart(c, tuple(float(chosen[c][p]) for p in PARAMETERS[c]), each, known) for c in charts)


def charts_for(
    checks_per_day_of_each_channel: Sequence[float | None], budget: Budget, charts: Sequence[str] = CHARTS,
    parameters: Mapping[str, Mapping[str, float]] = PARAMETERS, known: Knowledge = EXACT,
) -> SiteDesign:  # fmt: skip
    """Return limits for every channel so that the whole site keeps its budget; None is an unknown cadence (1/d).

    Channels of one cadence share one design. Raises WrongUse for a cadence that is not positive and finite.
    """
    rates = [DEFAULT_CHECKS_PER_DAY if r is None else float(r) for r in checks_per_day_of_each_channel]
    if any(not (math.isfinite(r) and r > 0.0) for r in rates):
        raise WrongUse("checks per day must be positive", remedy="leave `every` out where the cadence is unknown")
    designs: dict[float, ChannelDesign] = {}
    for rate in set(rates):
        arl = max(rate * len(rates) / budget.per_day, SHORTEST)
        designs[rate] = ChannelDesign(checks_per_day=rate, arl0=arl, charts=design_for(arl, charts, parameters, known))
    return SiteDesign(budget=budget, channels=tuple(designs[r] for r in rates))


def detectable(charts: Mapping[str, Mapping[str, float]], checks: float) -> tuple[float, float]:
    """Return the least step (σ) and the least drift (σ per check) that one of the charts finds within `checks`.

    `charts` have complete settings. In the mean, from the first check on, with centre and σ as assumed: the minimum
    detectable drift. Charts of the spread, head starts and supplementary rules do not count. Raises WrongUse unless
    `checks` > 1 and there is a chart of the mean.
    """
    if not checks > 1.0:
        raise WrongUse("nothing is found within one check", remedy="give more than 1")
    means = {name: settings for name, settings in charts.items() if name in MEANS}
    if not means:
        raise WrongUse("no chart of the mean", remedy=f"choose of {' '.join(MEANS)}")

    def step(size: float) -> float:
        return min(
            _delay(name, tuple(s[p] for p in PARAMETERS[name]), s[LIMIT_NAMES[name]], size) for name, s in means.items()
        )

    def ramp(slope: float) -> float:
        return min(_ramp_delay(name, s, slope) for name, s in means.items())

    return _least(step, checks), _least(ramp, checks)


def _ramp_delay(chart: str, settings: Mapping[str, float], slope: float) -> float:
    """Return the run length while the mean moves, infinite where it is beyond what can be computed.

    That of a CUSUM from `WIDE` on is where the mean alone leads, within 1 in 100: after k/slope checks it begins to
    rise, as slope·n²/2.
    """
    limit = settings[LIMIT_NAMES[chart]]
    try:
        if chart == "ewma":
            return ewma_arl(settings["lambda"], limit, drift=slope)
        if chart == "cusum" and limit < WIDE:
            return cusum_arl(settings["k"], limit, drift=slope)
        if chart == "cusum":
            return settings["k"] / slope + math.sqrt(2.0 * limit / slope)
        return shewhart_arl(limit, drift=slope)
    except TooLong:
        return math.inf


def _least(found_after: Callable[[float], float], checks: float) -> float:
    """Return the size found after that many checks, to 1 in 1000, by bisection on its logarithm."""
    low, high = 1.0, 1.0
    while found_after(high) > checks:
        low, high = high, high * 4.0
    while low == high or (low > 1e-6 and found_after(low) <= checks):
        low, high = low / 4.0, low if low != high else high
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if found_after(middle) > checks else (low, middle)
    return high
