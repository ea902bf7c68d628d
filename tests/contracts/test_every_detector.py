"""Every detector keeps the contract of detectors: one step for floats and columns, state as a value, no reset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import Detector, Readout
from gateway.drift.charts import chart_dtype, detectors, run

every_detector = pytest.mark.parametrize("detector", detectors(), ids=lambda d: d.name)
zs = st.lists(st.floats(-20.0, 20.0), min_size=1, max_size=60)


def parameters(detector: Detector, channels: int, limit: float | None = None) -> list[Any]:
    """Return the textbook parameters, all but a limit that is only read, for so many channels."""
    chosen = {**detector.parameters, **({} if limit is None else {detector.limit: limit})}
    return [np.full(channels, v) for name, v in chosen.items() if detector.optional or name != detector.limit]


def taken(detector: Detector, z: Sequence[float]) -> Any:
    """Return what the chart takes of checks whose residuals are these, in units of a σ that nobody has declared."""
    known = {"z": z, "residual": z, "size": 1.0, "sigma": 0.0, "rounding": 0.05}
    columns = [np.broadcast_to(np.asarray(known[name], np.float64), len(z)) for name in detector.takes]
    return columns[0] if len(columns) == 1 else np.array(columns)


def charted(detector: Detector, z: Sequence[float], limit: float | None = None) -> tuple[Any, Any]:
    """Chart one channel alone; return (states after each check, the last one)."""
    fresh = np.zeros(1, chart_dtype([detector]))
    times = np.arange(1, len(z) + 1, dtype=np.int64)
    columns = {detector.name: parameters(detector, 1, limit)}
    return run([detector], taken(detector, z), times, np.array([len(z)]), columns, fresh)


def said(detector: Detector, z: Sequence[float], limit: float | None = None) -> Readout:
    """Return what the chart says at each check, with its textbook limit unless another is given."""
    history, _ = charted(detector, z, limit)
    state = {f: history[f"{detector.name}_{f}"] for f in (*detector.state, *detector.times)}
    edge = detector.parameters[detector.limit] if limit is None else limit
    columns = parameters(detector, len(z), limit)
    return detector.read(state, taken(detector, z), columns, np.full(len(z), edge))


def first(signal: Any) -> int:
    """Return the place of the first signal; the number of checks where there is none."""
    return int(np.argmax(signal)) if signal.any() else len(signal)


@every_detector
def test_it_says_what_it_is_and_where_it_comes_from(detector: Detector) -> None:
    assert detector.limit in detector.parameters
    assert detector.kind in {"drift", "noisy"}
    text = sys.modules[detector.advance.__module__].__doc__ or ""
    assert any(year in text for year in map(str, range(1924, 2030))), "a detector names its source"
    assert ">>>" in text, "and shows how it runs"


@every_detector
@given(st.lists(zs, min_size=30, max_size=40))
@settings(max_examples=20, deadline=None)
def test_columns_and_floats_give_the_same_bits(detector: Detector, many: list[list[float]]) -> None:
    counts = np.array([len(z) for z in many])
    flat = taken(detector, [v for z in many for v in z])
    times = np.concatenate([np.arange(1, n + 1) for n in counts])
    fresh = np.zeros(len(many), chart_dtype([detector]))
    together, last = run([detector], flat, times, counts, {detector.name: parameters(detector, len(many))}, fresh)
    alone = [charted(detector, z) for z in many]
    assert together.tobytes() == b"".join(history.tobytes() for history, _ in alone)
    assert last.tobytes() == b"".join(end.tobytes() for _, end in alone)


@every_detector
@given(zs, zs)
@settings(max_examples=50, deadline=None)
def test_a_chart_goes_on_from_its_state_as_if_nothing_had_been_between(
    detector: Detector, before: list[float], after: list[float]
) -> None:
    whole, _ = charted(detector, before + after)
    begun, state = charted(detector, before)
    kept = np.frombuffer(state.tobytes(), state.dtype)
    times = np.arange(len(before) + 1, len(before) + len(after) + 1, dtype=np.int64)
    columns = {detector.name: parameters(detector, 1)}
    second, _ = run([detector], taken(detector, after), times, np.array([len(after)]), columns, kept)
    assert whole.tobytes() == begun.tobytes() + second.tobytes()


@every_detector
@given(zs)
@settings(max_examples=50, deadline=None)
def test_a_signal_is_strictly_beyond_the_limit(detector: Detector, z: list[float]) -> None:
    found = said(detector, z)
    assert found.signal.tolist() == (found.nearness > 1.0).tolist()
    assert np.isfinite(found.nearness).all()
    assert set(found.columns) >= {"limit", "signal"}


@every_detector
@given(zs, st.floats(1.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_a_wider_limit_never_signals_before_a_narrower_one(detector: Detector, z: list[float], factor: float) -> None:
    limit = detector.parameters[detector.limit]
    assert first(said(detector, z, limit * factor).signal) >= first(said(detector, z, limit).signal)


@every_detector
@given(zs)
@settings(max_examples=50, deadline=None)
def test_up_and_down_are_judged_alike(detector: Detector, z: list[float]) -> None:
    up, down = said(detector, z), said(detector, [-v for v in z])
    assert up.signal.tolist() == down.signal.tolist()
    assert up.nearness.tolist() == down.nearness.tolist()


@every_detector
def test_a_signal_does_not_reset_the_chart(detector: Detector) -> None:
    quiet = (np.random.default_rng(3).standard_normal(30) * 0.5).tolist()
    wrong = [6.0] * 40 if detector.kind == "drift" else [6.0, -6.0] * 20
    signals = said(detector, quiet + wrong).signal
    assert 30 <= first(signals) < 40
    assert signals[first(signals) :].all()


@every_detector
def test_what_is_steady_is_quiet(detector: Detector) -> None:
    rng = np.random.default_rng(5)
    limit = 2.0 * detector.parameters[detector.limit]
    assert not said(detector, (rng.standard_normal(200) * 0.5).tolist(), limit).signal.any()
