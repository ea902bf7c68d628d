"""Designed limits know what is not known of a channel's centre and σ, and keep what a chart's history hangs on."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from gateway.design import checks_per_day, design_site, knowledge, redesign
from gateway.registry.model import Center, Channel, Registry
from tests.pipeline.centre import DAY, certificate, scale


def channel(**given: object) -> Channel:
    return scale("a", **given).channels["mass"]


@pytest.mark.parametrize(
    ("given", "U", "centre_u", "sigma_checks"),
    [
        ({}, "0.0002", 0.1, 0),  # √2 · 0.1 g / 1.6 g = 0.088, rounded up
        ({}, "0.001", 0.2, 0),  # more than 0.2 σ: learned from 30
        ({"learn": 16}, "0.001", 0.26, 0),
        ({"center": Center.CERTIFICATE}, "0.001", 0.46, 0),
        ({"center": Center.LEARNED}, "0.0002", 0.2, 0),
        ({"sigma": None}, "0.0002", 0.2, 30),
        ({"sigma": None, "subgroup_n": 5}, "0.0002", 0.42, 6),
        ({"subgroup_n": 4}, "0.0002", 0.18, 0),
    ],
)
def test_what_is_not_known_of_a_centre(given: dict[str, object], U: str, centre_u: float, sigma_checks: int) -> None:
    known = knowledge(channel(**given), [certificate("a", U=U)])
    assert (known.centre_u, known.sigma_checks) == (centre_u, sigma_checks)


def test_the_newest_certificate_counts_and_none_means_learned() -> None:
    old, new = certificate("a", U="0.002"), certificate("a", DAY, name="c2", U="0.0002")
    assert knowledge(channel(), [old, new]) == knowledge(channel(), [new])
    assert knowledge(channel(), []).centre_u == 0.2


def test_charts_advance_once_a_group() -> None:
    assert checks_per_day(channel(every_ns=DAY // 8)) == 8.0
    assert checks_per_day(channel(every_ns=DAY // 8, subgroup_n=4)) == 2.0
    assert checks_per_day(channel(every_ns=DAY // 48, subgroup_ns=DAY // 24)) == pytest.approx(24.0)
    assert checks_per_day(channel(every_ns=DAY, subgroup_ns=DAY // 24)) == 1.0


def test_a_worse_known_centre_gets_wider_limits() -> None:
    registry = Registry(
        devices={d.id: d for d in (scale("sure"), scale("unsure", center=Center.LEARNED))},
        certificates=(certificate("sure"), certificate("unsure")),
    )
    limits = design_site(registry, "1/month", 2)
    sure, unsure = limits["sure", "mass"], limits["unsure", "mass"]
    assert unsure["shewhart"]["L"] > sure["shewhart"]["L"]
    assert unsure["ewma"]["L"] > sure["ewma"]["L"]
    assert unsure["cusum"]["h"] > sure["cusum"]["h"]


def test_a_redesign_changes_limits_and_keeps_what_statistics_hang_on() -> None:
    alone = Registry(devices={"a": scale("a", center=Center.LEARNED)})
    first, size = redesign(alone, "1/month", {}, 0, DAY)
    ((device, name, since, settings),) = first
    assert (device, name, size) == ("a", "mass", 1)
    many = Registry(devices={n: scale(n, center=Center.LEARNED, sigma=Decimal("0.001")) for n in map(str, range(9000))})
    grown = Registry(devices={**many.devices, "a": alone.devices["a"]})
    fresh = design_site(grown, "1/month", 9001)["a", "mass"]
    assert fresh["cusum"]["k"] > settings["cusum"]["k"]
    again, size = redesign(grown, "1/month", {("a", "mass"): [(since, settings)]}, size, DAY)
    (mine,) = [(at, s) for d, _, at, s in again if d == "a"]
    assert mine[0] == DAY
    assert mine[1]["cusum"]["k"] == settings["cusum"]["k"]
    assert mine[1]["cusum"]["h"] > settings["cusum"]["h"]
    assert math.isfinite(mine[1]["noise"]["h"])


def test_last_digits_that_another_processor_computes_redesign_nothing() -> None:
    alone = Registry(devices={"a": scale("a", center=Center.LEARNED)})
    (((device, name, since, settings),), size) = redesign(alone, "1/month", {}, 0, DAY)
    elsewhere = {chart: {n: v * (1 + 1e-12) for n, v in values.items()} for chart, values in settings.items()}
    assert elsewhere != settings
    assert redesign(alone, "1/month", {(device, name): [(since, elsewhere)]}, size, DAY) == ([], size)
