"""Registers through a replay: amounts over the top, multipliers, resolution (CONTRACTS §2-§4), and going back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.replayed import replay_files


def energy(more: str, rest: str = "") -> str:
    """Return an electricity meter with a register."""
    return (
        "devices:\n  - id: m1\n    kind: electricity\n    rule_pack: none\n"
        f"    channels: {{active_energy: {{unit: kWh, type: register, sigma: 0.1 %{more}}}}}\n{rest}"
    )


def reading(minute: int, value: float, **more: Any) -> dict[str, object]:
    """Return a reading of the register."""
    time = f"2026-02-01T{minute // 60:02}:{minute % 60:02}:00Z"
    return {"time": time, "device": "m1", "channel": "active_energy", "value": value, "unit": "kWh"} | more


def check(value_start: float, value: float, reference: float, **more: Any) -> dict[str, object]:
    """Return a check of the register against an amount."""
    return reading(0, value, value_start=value_start, reference=reference, reference_u=0.0, **more)


def only_verdict(tmp_path: Path, registry: str, row: dict[str, object]) -> dict[str, Any]:
    """Return the verdict of one check."""
    (found,) = replay_files(tmp_path, registry, [row]).verdicts
    return found


def test_a_check_counts_over_the_top_of_the_register(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", digits: 5"), check(99990.5, 9.6, 19.0))
    assert (v["indication"], v["reference"]) == (19.1, 19.0)


def test_without_digits_a_difference_stands_as_it_is(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(""), check(99990.5, 9.5, 19.0))
    assert v["indication"] == -99981.0


def test_the_multiplier_makes_the_register_the_true_amount(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", multiplier: 40"), check(100.0, 100.3, 12.0))
    assert (v["indication"], v["reference"], v["error"]) == (12.0, 12.0, 0.0)


def test_the_multiplier_scales_the_resolution_and_not_the_reference_register(tmp_path: Path) -> None:
    row = check(100.0, 101.0, 1040.0, reference_start=1000.0)
    v = only_verdict(tmp_path, energy(", multiplier: 40, resolution: 0.1 kWh"), row)
    assert v["reference"] == 40.0
    assert v["sigma"] == pytest.approx(100.0 * 4.0 / 6**0.5 / 40.0, rel=1e-12)


STANDARD = "  - {id: std-1, kind: reference, channels: {active_energy: {unit: Wh, type: register, digits: 6}}}\n"


def test_a_reference_register_passes_its_top_by_the_standards_digits(tmp_path: Path) -> None:
    row = check(100.0, 120.0, 10.0, reference_start=990.0, standard="std-1")
    v = only_verdict(tmp_path, energy("", STANDARD), row)
    assert (v["indication"], v["reference"]) == (20.0, 20.0)


def test_a_zero_amount_of_a_register_is_a_zero_reference(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", digits: 5"), check(100.0, 100.0, 0.0))
    assert (v["error"], v["flags"].count("zero_reference")) == (0.0, 1)
