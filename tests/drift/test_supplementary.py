from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import cusum, shewhart
from gateway.drift.charts import chart_dtype, run
from gateway.drift.runlength import cusum_arl
from gateway.drift.supplementary import RULES, rules_arl, rules_code, rules_of
from gateway.errors import WrongUse

PUBLISHED = {
    "": 370.40, "2of3": 225.44, "4of5": 166.05, "8run": 152.73, "2of3 4of5": 132.89, "2of3 8run": 122.05,
    "4of5 8run": 105.78, "2of3 4of5 8run": 91.75,
}  # fmt: skip
"""In-control run lengths of rule 1 with others, Champ & Woodall 1987, table 1."""
Z = st.floats(-4, 4, allow_nan=False)
ALL = rules_code(RULES)


@pytest.mark.parametrize(("names", "printed"), PUBLISHED.items())
def test_run_lengths_of_champ_and_woodall_are_reproduced(names: str, printed: float) -> None:
    assert rules_arl(3.0, rules_code(names.split())) == pytest.approx(printed, abs=0.0051)


def test_unknown_and_doubled_rules_are_refused() -> None:
    for names in (["9of9"], ["8run", "8run"]):
        with pytest.raises(WrongUse, match="rule"):
            rules_code(names)


def slow_rules(zs: list[float], L: float, names: tuple[str, ...]) -> list[set[str]]:
    """Return which rules signal at each z, from their words."""
    out = []
    for i in range(len(zs)):
        found = set()
        for side in (1, -1):
            past = [side * z for z in zs[: i + 1]]
            if past[-1] > 2 * L / 3 and sum(z > 2 * L / 3 for z in past[-3:]) >= 2:
                found.add("2of3")
            if past[-1] > L / 3 and sum(z > L / 3 for z in past[-5:]) >= 4:
                found.add("4of5")
            if len(past) >= 8 and all(z > 0 for z in past[-8:]):
                found.add("8run")
        out.append(found & set(names))
    return out


def charted(zs: list[float], L: float, rules: int, cuts: list[int]) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Return causes and signals of the shipped chart, cut at these places, and its state."""
    detector, state = shewhart.DETECTOR, np.zeros(1, chart_dtype((shewhart.DETECTOR,)))
    parts = []
    for start, end in pairwise([0, *sorted({c for c in cuts if 0 < c < len(zs)}), len(zs)]):
        z = np.array(zs[start:end])
        columns = [np.full(1, float(rules))]
        history, state = run((detector,), z, np.arange(len(z)), np.array([len(z)]), {"shewhart": columns}, state)
        recorded = {f: history[f"shewhart_{f}"] for f in detector.state}
        parts.append(detector.read(recorded, z, [np.full(len(z), float(rules))], np.full(len(z), L)))
    causes = [p.causes for p in parts if p.causes is not None]
    return np.concatenate(causes), np.concatenate([p.signal for p in parts]), state.tobytes()


@given(
    zs=st.lists(Z | st.sampled_from([0.0, 1.0, 2.0, 2.5, -2.5, 1.5, -1.5]), min_size=1, max_size=40),
    L=st.sampled_from([3.0, 2.4, 4.5]), rules=st.integers(1, ALL), cuts=st.lists(st.integers(1, 39), max_size=5),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_the_chart_signals_as_the_rules_say_under_any_cutting(
    zs: list[float], L: float, rules: int, cuts: list[int]
) -> None:
    causes, signals, state = charted(zs, L, rules, cuts)
    expected = slow_rules(zs, L, rules_of(rules))
    assert [set(rules_of(c)) for c in causes.tolist()] == expected
    assert signals.tolist() == [bool(found) or abs(z) > L for found, z in zip(expected, zs, strict=True)]
    assert state == charted(zs, L, rules, [])[2]


def test_a_chart_without_rules_remembers_nothing() -> None:
    detector = shewhart.DETECTOR
    z, counts = np.array([1.0, 2.5, 2.6]), np.array([3])
    _, state = run((detector,), z, np.arange(3), counts, {"shewhart": ()}, np.zeros(1, chart_dtype((detector,))))
    _, beside = run(
        (detector,), np.append(z, z), np.arange(6), np.array([3, 3]),
        {"shewhart": [np.array([0.0, float(ALL)])]}, np.zeros(2, chart_dtype((detector,))),
    )  # fmt: skip
    assert not any(state[0].tolist())
    assert beside[0] == state[0]
    assert beside[1]["shewhart_run"] == 3.0


def first_signals(signal: np.ndarray) -> np.ndarray:
    assert signal.any(axis=1).all()
    return np.asarray(signal.argmax(axis=1) + 1.0)


@pytest.mark.parametrize(("shift", "runs", "checks"), [(0.0, 3000, 1200), (1.0, 4000, 150)])
def test_the_shipped_chart_has_the_run_lengths_of_the_chain(shift: float, runs: int, checks: int) -> None:
    z = np.random.default_rng(7).normal(shift, 1.0, (runs, checks))
    detector, size = shewhart.DETECTOR, z.size
    history, _ = run(
        (detector,), z.ravel(), np.tile(np.arange(checks), runs), np.full(runs, checks),
        {"shewhart": [np.full(runs, float(ALL))]}, np.zeros(runs, chart_dtype((detector,))),
    )  # fmt: skip
    recorded = {f: history[f"shewhart_{f}"] for f in detector.state}
    readout = detector.read(recorded, z.ravel(), [np.full(size, float(ALL))], np.full(size, 3.0))
    lengths = first_signals(readout.signal.reshape(runs, checks))
    assert lengths.mean() == pytest.approx(rules_arl(3.0, ALL, shift), abs=4 * lengths.std() / runs**0.5)


@pytest.mark.parametrize(("shift", "printed", "runs", "checks"), [(0.0, 430.4, 1500, 4500), (1.0, 6.35, 4000, 100)])
def test_the_shipped_cusum_with_a_head_start_has_the_run_lengths_of_lucas_and_crosier(
    shift: float, printed: float, runs: int, checks: int
) -> None:
    assert cusum_arl(0.5, 5.0, shift, headstart=2.5) == pytest.approx(printed, abs=0.01)
    z = np.random.default_rng(11).normal(shift, 1.0, (runs, checks))
    detector, size = cusum.DETECTOR, z.size
    columns = [np.full(runs, 0.5), np.full(runs, 2.5)]
    history, _ = run(
        (detector,), z.ravel(), np.tile(np.arange(checks), runs) + 1, np.full(runs, checks), {"cusum": columns},
        np.zeros(runs, chart_dtype((detector,))),
    )  # fmt: skip
    recorded = {f: history[f"cusum_{f}"] for f in (*detector.state, *detector.times)}
    readout = detector.read(recorded, z.ravel(), [np.full(size, 0.5), np.full(size, 2.5)], np.full(size, 5.0))
    lengths = first_signals(readout.signal.reshape(runs, checks))
    assert lengths.mean() == pytest.approx(printed, abs=4 * lengths.std() / runs**0.5)


@given(zs=st.lists(Z, min_size=1, max_size=12), head=st.sampled_from([0.3, 2.5]))
@settings(max_examples=60, deadline=None)
def test_the_size_on_a_head_start_is_the_mean_of_the_checks(zs: list[float], head: float) -> None:
    """The head start itself is no evidence of a change."""
    detector, n = cusum.DETECTOR, len(zs)
    columns = [np.array([0.5]), np.array([head])]
    history, _ = run(
        (detector,), np.array(zs), np.arange(n) + 1, np.array([n]), {"cusum": columns},
        np.zeros(1, chart_dtype((detector,))),
    )  # fmt: skip
    recorded = {f: history[f"cusum_{f}"] for f in (*detector.state, *detector.times)}
    readout = detector.read(recorded, np.array(zs), [np.full(n, 0.5), np.full(n, head)], np.full(n, 5.0))
    up, down, sides = head, head, [True, True]
    for i, z in enumerate(zs):
        up, down = max(0.0, up + z - 0.5), max(0.0, down - z - 0.5)
        sides = [sides[0] and up > 0.0, sides[1] and down > 0.0]
        assert readout.columns["upper"][i] == pytest.approx(up, abs=1e-12)
        assert readout.columns["lower"][i] == pytest.approx(down, abs=1e-12)
        largest = 0 if readout.columns["upper"][i] >= readout.columns["lower"][i] else 1
        if sides[largest]:
            assert readout.columns["size"][i] == pytest.approx(np.mean(zs[: i + 1]), abs=1e-9)
            assert readout.columns["onset"][i] == 1
