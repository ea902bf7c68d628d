"""`metergate drift`: run lengths of chart settings, and limits from a false-alarm budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.errors import WrongUse

if TYPE_CHECKING:
    from gateway.drift.design import ChannelDesign

ARL_EXAMPLE = "Example: metergate drift arl --chart ewma --lambda 0.2 --L 2.962 --shift 1"
DESIGN_EXAMPLE = 'Example: metergate drift design --devices 200 --checks-per-day 1 --budget "1/month"'

OWN = {"shewhart": ("L",), "ewma": ("lambda", "L"), "cusum": ("k", "h")}
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

    def answer(self) -> tuple[float, str]:
        """Return the run length and how it was computed."""
        from gateway.drift.runlength import LimitShape, Sided, cusum_arl, ewma_arl, shewhart_arl

        sided, limits = Sided(self.sided), LimitShape(self.limits)
        shift, drift = self.shift or 0.0, self.drift or 0.0
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
        """Return all settings by name; those without a meaning here are null."""
        return {
            "chart": self.chart,
            **{name: self.own.get(name) for name in ("lambda", "L", "k", "h")},
            "headstart": self.headstart if self.chart == "cusum" else None,
            "sided": self.sided,
            "limits": self.limits if self.chart == "ewma" else None,
            "shift": self.shift,
            "drift": self.drift,
            "drift_from": None if self.drift is None else self.drift_from,
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


def arl(
    chart: Annotated[str, typer.Option("--chart", help="shewhart, ewma or cusum.")],
    lam: Annotated[float | None, typer.Option("--lambda", help="Weight of the newest check (ewma).")] = None,
    L: Annotated[
        float | None, typer.Option("--L", help="Limit in σ of the charted statistic (shewhart, ewma).")
    ] = None,
    k: Annotated[float | None, typer.Option("--k", help="Allowance in σ (cusum).")] = None,
    h: Annotated[float | None, typer.Option("--h", help="Limit in σ (cusum).")] = None,
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
    question = _Question(
        chart=chart,
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
    devices: Annotated[int, typer.Option("--devices", min=1, help="Channels charted at the site.")],
    checks_per_day: Annotated[float, typer.Option("--checks-per-day", help="Checks a day of each channel.")],
    budget: Annotated[str, typer.Option("--budget", help="False alarms of the whole site: N/day, week, month or year.")]
    = "1/month",
    json: JsonFlag = False,
) -> None:  # fmt: skip
    """Show the limits that keep a site within its false-alarm budget, and the delays they buy."""
    from gateway.drift.design import Budget, charts_for

    allowed = Budget.parse(budget)
    site = charts_for([checks_per_day] * devices, allowed)
    channel = site.channels[0]
    if json:
        write_json(
            {
                "devices": devices,
                "checks_per_day": checks_per_day,
                "budget": str(allowed),
                "budget_per_day": allowed.per_day,
                "false_alarms_per_day": site.false_alarms_per_day,
                "arl0": channel.arl0,
                "charts": [asdict(chart) for chart in channel.charts],
            }
        )
        return
    _print(channel, devices, str(allowed))


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
