"""Conformance probabilities mean what they say, against a simulated truth (the bench prints the long run)."""

from __future__ import annotations

from math import sqrt

from bench.conformance import measure


def test_probabilities_and_uncertainties_cover_the_truth() -> None:
    classes, held = measure(4000, 11)
    assert {c.device for c in classes} == {"scale", "water"}
    for c in classes:
        spread = sqrt(c.said * (1 - c.said) / c.n)
        assert abs(c.conforming - c.said) <= 5 * spread + 1e-3, c
    for share in held.values():
        assert abs(share - 0.9545) < 5 * sqrt(0.9545 * 0.0455 / 4000)
