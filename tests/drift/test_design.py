from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift.charts import detectors
from gateway.drift.design import (
    CHARTS,
    LIMIT_NAMES,
    PARAMETERS,
    SHORTEST,
    Budget,
    Knowledge,
    as_written,
    charts_for,
    cusum_limit,
    design_for,
    detectable,
    ewma_limit,
    noise_limit,
    shewhart_limit,
)  # fmt: skip
from gateway.drift.phase1 import widened
from gateway.drift.runlength import cusum_arl, ewma_arl, noise_arl, shewhart_arl
from gateway.errors import WrongUse


@pytest.mark.parametrize(("arl", "h"), [(370.4, 4.775), (500, 5.071), (1000, 5.757), (7000, 7.697), (10000, 8.053),
                                        (30000, 9.151), (100000, 10.355)])  # fmt: skip
def test_cusum_limits_of_the_fact_sheet_hold(arl: float, h: float) -> None:
    assert cusum_limit(0.5, arl) == pytest.approx(h, abs=6e-4)


def test_ewma_limits_of_the_fact_sheet_hold() -> None:
    for lam, L in ((0.05, 2.639), (0.1, 2.824), (0.2, 2.966)):
        assert ewma_limit(lam, 500) == pytest.approx(L, abs=6e-4)


def test_a_small_offset_is_found_at_the_cost_the_fact_sheet_states() -> None:
    h = cusum_limit(0.5, 7000)
    assert cusum_arl(0.5, h, 1.0) == pytest.approx(15.8, abs=0.05)
    assert cusum_arl(0.5, h, 0.5) == pytest.approx(79, abs=0.5)
    assert cusum_arl(0.25, cusum_limit(0.25, 7000), 0.5) == pytest.approx(52, abs=0.5)


@settings(max_examples=20, deadline=None)
@given(st.floats(20.0, 1e8))
def test_a_limit_has_the_run_length_it_was_designed_for(arl: float) -> None:
    assert shewhart_arl(shewhart_limit(arl)) == pytest.approx(arl, rel=1e-5)
    assert ewma_arl(0.2, ewma_limit(0.2, arl)) == pytest.approx(arl, rel=1e-5)
    assert cusum_arl(0.5, cusum_limit(0.5, arl)) == pytest.approx(arl, rel=1e-5)
    assert noise_arl(1.848, noise_limit(1.848, 10.0, arl), 10.0) == pytest.approx(arl, rel=0.02)


@pytest.mark.parametrize(("text", "per_day"), [("1/month", 1 / 30.4375), ("2/week", 2 / 7), ("0.5/day", 0.5),
                                               ("1/year", 1 / 365.25), (" 3 / month ", 3 / 30.4375)])  # fmt: skip
def test_a_budget_is_read(text: str, per_day: float) -> None:
    assert Budget.parse(text).per_day == pytest.approx(per_day)


@pytest.mark.parametrize("text", ["", "1", "month", "0/day", "-1/day", "1/hour", "1/month/2", "nan/day", "1e400/day"])
def test_what_is_no_budget_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongUse, match="1/month"):
        Budget.parse(text)


def test_a_budget_is_written_as_it_is_read() -> None:
    assert str(Budget.parse("0.5/day")) == "0.5/day"


def test_every_channel_has_an_equal_share_of_the_budget() -> None:
    site = charts_for([1.0, 24.0, None, 0.25], Budget.parse("1/year"))
    assert [c.checks_per_day for c in site.channels] == [1.0, 24.0, 1.0, 0.25]
    shares = [c.false_alarms_per_day for c in site.channels]
    assert shares == pytest.approx([1 / 365.25 / 4] * 4)
    assert site.false_alarms_per_day == pytest.approx(1 / 365.25)


def test_the_charts_of_a_channel_share_its_run_length() -> None:
    channel = charts_for([1.0] * 100, Budget.parse("1/month")).channels[0]
    assert channel.arl0 == pytest.approx(3043.75)
    assert sum(1 / c.arl0 for c in channel.charts) == pytest.approx(1 / channel.arl0, rel=0.005)
    assert [c.chart for c in channel.charts] == list(CHARTS)


def test_fewer_charts_have_narrower_limits() -> None:
    budget = Budget.parse("1/month")
    one = charts_for([1.0] * 100, budget, charts=("cusum",)).channels[0].charts[0]
    four = charts_for([1.0] * 100, budget).channels[0].charts[2]
    assert one.limit < four.limit


def test_own_parameters_are_kept() -> None:
    (chart,) = design_for(1000.0, ("ewma",), {"ewma": {"lambda": 0.05}})
    assert chart.settings == {"lambda": 0.05, "L": as_written(ewma_limit(0.05, 1000.0))}


def test_limits_have_no_more_digits_than_every_processor_agrees_on() -> None:
    for known in (Knowledge.of(0.0, 0), Knowledge.of(0.18, 30)):
        for chart in design_for(5000.0, known=known):
            assert float(f"{chart.limit:.6g}") == chart.limit
    for name, parameters in PARAMETERS.items():
        wider = widened(name, 4.0, parameters, 30)
        assert wider > 4.0
        assert float(f"{wider:.6g}") == wider


def test_designed_charts_are_those_the_package_has() -> None:
    shipped = {d.name: d for d in detectors() if d.name in CHARTS}
    assert set(shipped) == set(CHARTS)
    for name, detector in shipped.items():
        assert detector.limit == LIMIT_NAMES[name]
        assert {p: v for p, v in detector.parameters.items() if p != detector.limit} == PARAMETERS[name]


def test_delays_fall_with_the_size_of_the_change() -> None:
    for chart in design_for(5000.0):
        checks = [d.checks for d in chart.delays]
        assert checks == sorted(checks, reverse=True)
        assert checks[0] < chart.arl0


def test_a_generous_budget_never_makes_charts_that_always_signal() -> None:
    assert charts_for([0.01], Budget.parse("9/day")).channels[0].arl0 == SHORTEST


def test_thousands_of_channels_cost_as_much_as_their_cadences() -> None:
    began = time.process_time()
    site = charts_for([1.0, 24.0, 48.0] * 1500, Budget.parse("1/month"))
    assert time.process_time() - began < 5.0
    assert len({id(c) for c in site.channels}) == 3


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_cadence_is_refused(rate: float) -> None:
    with pytest.raises(WrongUse):
        charts_for([1.0, rate], Budget.parse("1/month"))


def test_a_chart_without_run_length_is_refused() -> None:
    with pytest.raises(WrongUse, match="trend"):
        design_for(100.0, ("trend",))


def test_a_run_length_out_of_reach_is_refused() -> None:
    with pytest.raises(WrongUse):
        cusum_limit(0.5, 1e13)


@pytest.mark.parametrize(("h", "exact"), [(100.0, 0.252551), (400.0, 0.921359), (900.0, 2.034133)])
def test_the_drift_that_a_wide_cusum_finds_is_as_exactly_computed(h: float, exact: float) -> None:
    shift, drift = detectable({"cusum": {"k": 0.5, "h": h}}, 30.0)
    assert drift == pytest.approx(exact, rel=0.01)
    assert shift == pytest.approx(0.5 + h / 30.0, rel=0.02)


@pytest.mark.parametrize("charts", [{"cusum": {"k": 0.5, "h": 1897.1}}, {"shewhart": {"L": 1e9}}])
def test_what_charts_find_is_known_however_wide_they_are(charts: dict[str, dict[str, float]]) -> None:
    shift, drift = detectable(charts, 30.0)
    assert 30.0 < shift < 2e9
    assert 1.0 < drift < shift


def test_a_chart_too_wide_to_find_anything_takes_nothing_from_the_others() -> None:
    alone = {"ewma": {"lambda": 0.2, "L": 6.7317}, "shewhart": {"L": 4.56047}}
    assert detectable(alone | {"cusum": {"k": 0.5, "h": 1897.1}}, 30.0) == detectable(alone, 30.0)
