"""Every detector keeps the contract of detectors: one step for floats and columns, state as a value, no reset."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import Detector, Readout
from gateway.drift.charts import chart_dtype, detectors, run

every_detector = pytest.mark.parametrize("detector", detectors(), ids=lambda d: d.name)
zs = st.lists(st.floats(-20.0, 20.0), min_size=1, max_size=60)


def parameters(detector: Detector, channels: int) -> list[Any]:
    """Return the textbook parameters, all but the limit, for so many channels."""
    return [np.full(channels, v) for name, v in detector.parameters.items() if name != detector.limit]


def charted(detector: Detector, z: list[float], state: Any = None) -> tuple[Any, Any]:
    """Chart one channel alone; return (states after each check, the last one)."""
    start = np.zeros(1, chart_dtype([detector])) if state is None else state
    times = np.arange(1, len(z) + 1, dtype=np.int64)
    return run([detector], np.array(z), times, np.array([len(z)]), {detector.name: parameters(detector, 1)}, start)


def said(detector: Detector, z: list[float], limit: float | None = None) -> Readout:
    """Return what the chart says at each check, with its textbook limit unless another is given."""
    history, _ = charted(detector, z)
    state = {f: history[f"{detector.name}_{f}"] for f in (*detector.state, *detector.times)}
    edge = detector.parameters[detector.limit] if limit is None else limit
    return detector.read(state, np.array(z), parameters(detector, len(z)), np.full(len(z), edge))


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
    flat = np.concatenate([np.array(z) for z in many])
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
    first, state = charted(detector, before)
    kept = np.frombuffer(state.tobytes(), state.dtype)
    times = np.arange(len(before) + 1, len(before) + len(after) + 1, dtype=np.int64)
    columns = {detector.name: parameters(detector, 1)}
    second, _ = run([detector], np.array(after), times, np.array([len(after)]), columns, kept)
    assert whole.tobytes() == first.tobytes() + second.tobytes()


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
def test_a_wider_limit_never_signals_where_a_narrower_one_does_not(
    detector: Detector, z: list[float], factor: float
) -> None:
    limit = detector.parameters[detector.limit]
    assert not (said(detector, z, limit * factor).signal & ~said(detector, z, limit).signal).any()


@every_detector
@given(zs)
@settings(max_examples=50, deadline=None)
def test_up_and_down_are_judged_alike(detector: Detector, z: list[float]) -> None:
    up, down = said(detector, z), said(detector, [-v for v in z])
    assert up.signal.tolist() == down.signal.tolist()
    assert up.nearness.tolist() == down.nearness.tolist()


@every_detector
def test_a_signal_does_not_reset_the_chart(detector: Detector) -> None:
    wrong = [6.0] * 40 if detector.kind == "drift" else [6.0, -6.0] * 20
    signals = said(detector, wrong).signal
    first = int(np.argmax(signals))
    assert signals[first]
    assert signals[first:].all()


@every_detector
def test_what_is_steady_is_quiet(detector: Detector) -> None:
    rng = np.random.default_rng(5)
    limit = 2.0 * detector.parameters[detector.limit]
    assert not said(detector, (rng.standard_normal(200) * 0.5).tolist(), limit).signal.any()
