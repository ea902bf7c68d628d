"""`metergate drift`: run lengths of chart settings, and limits from a false-alarm budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ConfigOption
from gateway.errors import WrongUse

if TYPE_CHECKING:
    from gateway.drift.design import ChannelDesign

ARL_EXAMPLE = "Example: metergate drift arl --chart ewma --lambda 0.2 --L 2.962 --shift 1"
DESIGN_EXAMPLE = 'Example: metergate drift design --devices 200 --checks-per-day 1 --budget "1/month"'

INTERVAL_EXAMPLE = "Example: metergate drift interval --method drift --mpe 1 --error 0.2 --U 0.1 --rate 0.02"

MOST_U = 3.0

OWN = {"shewhart": ("L",), "ewma": ("lambda", "L"), "cusum": ("k", "h"), "self_starting": ("k", "h")}
"""Settings each chart must be given."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    drift = typer.Typer(
        name="drift",
        help="Run lengths of control charts, and limits from a false-alarm budget.",
        epilog=DESIGN_EXAMPLE,
        no_args_is_help=True,
    )
    drift.command("arl", epilog=ARL_EXAMPLE)(arl)
    drift.command("design", epilog=DESIGN_EXAMPLE)(design)
    drift.command("interval", epilog=INTERVAL_EXAMPLE)(interval)
    app.add_typer(drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A chart and a change of the mean, as asked."""

    chart: str
    own: dict[str, float]
    headstart: float
    sided: str
    limits: str
    shift: float | None
    drift: float | None
    drift_from: int
    rules: int = 0

    def answer(self) -> tuple[float, str]:
        """Return the run length and how it was computed."""
        from gateway.drift.runlength import LimitShape, Sided, cusum_arl, ewma_arl, shewhart_arl
        from gateway.drift.supplementary import rules_arl

        sided, limits = Sided(self.sided), LimitShape(self.limits)
        shift, drift = self.shift or 0.0, self.drift or 0.0
        if self.rules:
            return rules_arl(self.own["L"], self.rules, shift), "Markov chain"
        if self.chart == "shewhart":
            length = shewhart_arl(self.own["L"], shift, sided, drift=drift, drift_from=self.drift_from)
            return length, "sum of survival probabilities" if drift else "closed form"
        if self.chart == "ewma":
            length = ewma_arl(
                self.own["lambda"], self.own["L"], shift, sided, limits, drift=drift, drift_from=self.drift_from
            )
        else:
            length = cusum_arl(
                self.own["k"], self.own["h"], shift, sided, self.headstart, drift=drift, drift_from=self.drift_from
            )
        carried = drift != 0.0 or (self.chart == "ewma" and limits is LimitShape.VARYING)
        return length, "density propagation" if carried else "integral equation"

    def settings(self) -> dict[str, Any]:
        """Return all settings by name; those without a meaning here are null, rules are named where there are any."""
        from gateway.drift.supplementary import rules_of

        return {
            "chart": self.chart,
            **{name: self.own.get(name) for name in ("lambda", "L", "k", "h")},
            "headstart": self.headstart if self.chart == "cusum" else None,
            "sided": self.sided,
            "limits": self.limits if self.chart == "ewma" else None,
            "shift": self.shift,
            "drift": self.drift,
            "drift_from": None if self.drift is None else self.drift_from,
            **({"rules": list(rules_of(self.rules))} if self.rules else {}),
        }


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise WrongUse(f"--{name} {value!r} is unknown", remedy=f"choose {' or '.join(allowed)}")
    return value


def _own_settings(chart: str, given: dict[str, float | None]) -> dict[str, float]:
    """Return what the chart needs; raises WrongUse for what is missing or belongs to another chart."""
    own = {name: value for name, value in given.items() if value is not None}
    missing = [f"--{name}" for name in OWN[chart] if name not in own]
    foreign = [f"--{name}" for name in own if name not in OWN[chart]]
    if missing:
        raise WrongUse(f"a {chart} chart needs {' and '.join(missing)}", remedy="see `metergate drift arl --help`")
    if foreign:
        needed = " and ".join(f"--{name}" for name in OWN[chart])
        raise WrongUse(f"a {chart} chart has no {' or '.join(foreign)}", remedy=f"give only {needed}")
    return own


def _rules(text: str | None) -> int:
    from gateway.drift.supplementary import rules_code

    return 0 if text is None else rules_code(name.strip() for name in text.split(","))


def arl(
    chart: Annotated[str, typer.Option("--chart", help="shewhart, ewma, cusum or self_starting.")],
    lam: Annotated[float | None, typer.Option("--lambda", help="Weight of the newest check (ewma).")] = None,
    L: Annotated[
        float | None, typer.Option("--L", help="Limit in σ of the charted statistic (shewhart, ewma).")
    ] = None,
    k: Annotated[float | None, typer.Option("--k", help="Allowance in σ (cusum, self_starting).")] = None,
    h: Annotated[float | None, typer.Option("--h", help="Limit in σ (cusum, self_starting).")] = None,
    headstart: Annotated[float, typer.Option("--headstart", help="Where both sums start, in σ (cusum).")] = 0.0,
    sided: Annotated[str, typer.Option("--sided", help="two: both directions; one: upwards only.")] = "two",
    limits: Annotated[
        str, typer.Option("--limits", help="varying: exact from the first check; fixed (ewma).")
    ] = "varying",
    shift: Annotated[
        float | None, typer.Option("--shift", help="Step of the mean in σ from the first check on.")
    ] = None,
    drift: Annotated[float | None, typer.Option("--drift", help="Drift of the mean in σ per check.")] = None,
    drift_from: Annotated[
        int | None, typer.Option("--drift-from", help="0: the i-th check has drift·(i-1); 1 (default): drift·i.")
    ] = None,
    rules: Annotated[
        str | None, typer.Option("--rules", help="Supplementary rules, such as 2of3,4of5,8run (shewhart).")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Answer the mean number of checks until a chart signals (zero state); without a change, the in-control one."""
    _one_of("chart", chart, tuple(OWN))
    if shift is not None and drift is not None:
        raise WrongUse("--shift and --drift contradict each other", remedy="give one of them")
    if drift_from is not None and drift is None:
        raise WrongUse("--drift-from means nothing without --drift", remedy="give --drift as well")
    if headstart != 0.0 and chart != "cusum":
        raise WrongUse(f"a {chart} chart has no --headstart", remedy="leave it out")
    if chart == "self_starting" and (shift is not None or drift is not None):
        raise WrongUse(
            "a self_starting chart learns what is there from its first check on, so it has no such run length",
            remedy="leave --shift and --drift out, or see docs/drift.md for what it finds later",
        )
    if rules is not None and (chart != "shewhart" or sided != "two" or drift is not None):
        raise WrongUse("--rules are those of a two-sided shewhart chart after a step", remedy="leave the others out")
    question = _Question(
        chart=chart,
        rules=_rules(rules),
        own=_own_settings(chart, {"lambda": lam, "L": L, "k": k, "h": h}),
        headstart=headstart,
        sided=_one_of("sided", sided, ("two", "one")),
        limits=_one_of("limits", limits, ("varying", "fixed")),
        shift=0.0 if shift is None and drift is None else shift,
        drift=drift,
        drift_from=1 if drift_from is None else drift_from,
    )
    length, method = question.answer()
    if json:
        write_json({"arl": length, "method": method, **question.settings()})
    else:
        write(f"{length:.6g} checks ({method})")


def design(
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, max=1_000_000, help="Channels charted at a site to plan.")
    ] = None,
    checks_per_day: Annotated[
        float | None, typer.Option("--checks-per-day", help="Checks a day of each channel (1).")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="False alarms of the whole site (1/month): N/day, week, month, year.")
    ] = None,
    centre_u: Annotated[
        float, typer.Option("--centre-u", help="Standard uncertainty of the centre, in σ (0: it is known).")
    ] = 0.0,
    sigma_checks: Annotated[
        int, typer.Option("--sigma-checks", min=0, help="Checks that σ is learned from (0: it is known).")
    ] = 0,
    within: Annotated[float, typer.Option("--within", help="Checks in which a change should be found.")] = 30.0,
    apply: Annotated[
        bool, typer.Option("--apply", help="Design the limits of the site's registry anew and keep them from now on.")
    ] = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Show the limits that keep a site within its false-alarm budget, and what they find.

    With --devices for a site to plan; without, what --apply would change at the site whose ledger this is.
    """
    planned = {"--devices": devices, "--checks-per-day": checks_per_day, "--budget": budget,
               "--centre-u": centre_u or None, "--sigma-checks": sigma_checks or None}  # fmt: skip
    given = [name for name, value in planned.items() if value is not None]
    if devices is None:
        if given:
            raise WrongUse(
                f"{given[0]} is for a site to plan", remedy="give --devices, or set drift.budget in the settings"
            )
        _design_site(config, keep=apply, json=json)
        return
    if apply:
        raise WrongUse("--devices is for a site to plan, --apply for the one there is", remedy="give one of them")
    _design_plan(devices, 1.0 if checks_per_day is None else checks_per_day, budget or "1/month", centre_u,
                 sigma_checks, within, json=json)  # fmt: skip


def _design_plan(
    devices: int, checks_per_day: float, budget: str, centre_u: float, sigma_checks: int, within: float, *, json: bool
) -> None:
    from gateway.drift.design import Budget, Knowledge, charts_for, detectable

    if not 0.0 <= centre_u <= MOST_U:
        raise WrongUse("--centre-u must lie between 0 and 3 σ", remedy="learn the centre instead")
    allowed = Budget.parse(budget)
    site = charts_for([checks_per_day] * devices, allowed, known=Knowledge.of(centre_u, sigma_checks))
    channel = site.channels[0]
    step, ramp = detectable({c.chart: c.settings for c in channel.charts}, within)
    if json:
        write_json(
            {
                "devices": devices,
                "checks_per_day": checks_per_day,
                "budget": str(allowed),
                "budget_per_day": allowed.per_day,
                "centre_u": centre_u,
                "sigma_checks": sigma_checks,
                "false_alarms_per_day": site.false_alarms_per_day,
                "arl0": channel.arl0,
                "detectable": {"within_checks": within, "shift": step, "drift_per_check": ramp},
                "charts": [asdict(chart) for chart in channel.charts],
            }
        )
        return
    _print(channel, devices, str(allowed))
    write()
    write(f"Found within {within:g} checks in the mean: a step of {step:.3g} σ, a drift of {ramp:.3g} σ a check.")


def _design_site(config: Path | None, *, keep: bool, json: bool) -> None:
    """Show, or keep, the limits of the registry designed anew."""
    from gateway.metrology.instants import format_instant
    from gateway.pipeline.plan import NEVER
    from gateway.redesigning import redesign_limits
    from gateway.runtime.clock import now_ns

    done = redesign_limits(config, now=now_ns(), keep=keep)
    if json:
        changed = [
            {"device": c.device, "channel": c.channel, "since": None if c.since == NEVER else format_instant(c.since),
             "charts": c.charts}
            for c in done.changed
        ]  # fmt: skip
        write_json({"applied": keep, "budget": done.budget, "designed_for": done.before, "channels": done.channels,
                    "by_hand": done.by_hand, "changed": changed})  # fmt: skip
        return
    verb = "change" if keep else "would change"
    write(f"{done.channels} channels share {done.budget} (designed for {done.before} so far): "
          f"limits of {len(done.changed)} {verb}.")  # fmt: skip
    if done.by_hand:
        channels = "1 channel" if done.by_hand == 1 else f"{done.by_hand} channels"
        write(f"Charts of {channels} are set by hand: their false alarms come on top of the budget.")
    rows = [
        (c.device, c.channel, chart, ", ".join(f"{n} {v:.5g}" for n, v in settings.items()))
        for c in done.changed
        for chart, settings in c.charts.items()
    ]
    if rows:
        write_table(("device", "channel", "chart", "settings"), rows)


def interval(
    method: Annotated[str, typer.Option("--method", help="a1, a2, drift or reliability (ILAC-G24, RP-1).")],
    now: Annotated[float | None, typer.Option("--interval", help="Interval so far, in months (a1, a2, reliability).")]
    = None,
    found: Annotated[str | None, typer.Option("--found", help="in or out of tolerance (a1, a2).")] = None,
    before: Annotated[str | None, typer.Option("--found-before", help="The finding before that (a2).")] = None,
    step: Annotated[float, typer.Option("--step", help="Step of the last time (a2).")] = 1.0,
    target: Annotated[float, typer.Option("--target", help="Share to be in tolerance (a2, reliability).")] = 0.95,
    observed: Annotated[float | None, typer.Option("--observed", help="Share found in tolerance (reliability).")]
    = None,
    mpe: Annotated[float | None, typer.Option("--mpe", help="MPE (drift).")] = None,
    error: Annotated[float | None, typer.Option("--error", help="Error now, in the unit of the MPE (drift).")] = None,
    U: Annotated[float, typer.Option("--U", help="Expanded uncertainty (drift).")] = 0.0,
    rate: Annotated[float | None, typer.Option("--rate", help="Drift a month (drift).")] = None,
    rate_u: Annotated[float, typer.Option("--rate-u", help="Standard uncertainty of the rate (drift).")] = 0.0,
    statutory: Annotated[float | None, typer.Option("--statutory", help="Interval of the law, in months.")] = None,
    json: JsonFlag = False,
) -> None:  # fmt: skip
    """Advise the next calibration interval; the law's interval is a ceiling."""
    from gateway.metrology import intervals

    _one_of("method", method, ("a1", "a2", "drift", "reliability"))

    def need(name: str, value: float | None) -> float:
        if value is None:
            raise WrongUse(f"method {method} needs {name}", remedy="see `metergate drift interval --help`")
        return value

    def good(name: str, value: str | None) -> bool:
        return _one_of(name, value or "nothing", ("in", "out")) == "in"

    next_step: float | None = None
    if method == "a1":
        months = intervals.simple_step(need("--interval", now), good("found", found))
    elif method == "a2":
        earlier = None if before is None else good("found-before", before)
        months, next_step = intervals.incremental_step(
            need("--interval", now), good("found", found), step, earlier, target
        )
    elif method == "drift":
        months = intervals.drift_interval(need("--mpe", mpe), need("--error", error), U, need("--rate", rate), rate_u)
    else:
        months = intervals.exponential_interval(need("--observed", observed), need("--interval", now), target)
    advice = intervals.capped(months, statutory)
    if json:
        write_json({"method": method, "months": advice, "by_method": None if months == float("inf") else months,
                    "statutory": statutory, "next_step": next_step})  # fmt: skip
        return
    write("no interval follows: there is no drift" if advice is None else f"{advice:.4g} months")


def _print(channel: ChannelDesign, devices: int, budget: str) -> None:
    write(f"{devices} channels, {channel.checks_per_day:g} checks a day each, at most {budget} false alarms together:")
    write(f"the charts of a channel may signal once in {channel.arl0:.5g} checks.")
    write()
    rows = []
    for chart in channel.charts:
        unit = "σ ratio " if chart.chart == "noise" else "shift σ "
        settings = ", ".join(f"{name} {value:.5g}" for name, value in chart.settings.items())
        delays = "  ".join(f"{delay.size:g}: {delay.checks:.4g}" for delay in chart.delays)
        rows.append((chart.chart, settings, f"{chart.arl0:.5g}", unit + delays))
    write_table(("chart", "settings", "run length", "checks until found"), rows)
