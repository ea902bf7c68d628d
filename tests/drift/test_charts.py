"""The one implementation that moves every chart: the same bits as columns and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import Detector, Readout, Where
from gateway.drift.charts import chart_dtype, run


def _weighted(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:
    value, size = z
    total, weight = state
    return total + parameters[0] * value * size, where(size > 1.0, weight + size, weight)


def _unread(*_: object) -> Readout:
    raise AssertionError


WEIGHTED = Detector(
    name="weighted", parameters={"factor": 1.0, "limit": 1.0}, limit="limit", state=("total", "weight"),
    takes=("residual", "size"), advance=_weighted, read=_unread,
)  # fmt: skip


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=60), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_chart_of_several_columns_gives_the_same_bits_as_columns_and_one_by_one(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = np.array(counts)
    taken = np.array([rng.normal(size=n.sum()), rng.integers(1, 4, n.sum()).astype(np.float64)])
    time, factors = np.arange(n.sum()), {"weighted": [rng.normal(size=len(n))]}
    fresh = np.zeros(len(n), chart_dtype([WEIGHTED]))
    history, last = run([WEIGHTED], taken, time, n, factors, fresh)
    ends = np.cumsum(n)
    for i, (start, end) in enumerate(zip(ends - n, ends, strict=True)):
        alone = {"weighted": [factors["weighted"][0][i : i + 1]]}
        one, end_state = run([WEIGHTED], taken[:, start:end], time[start:end], n[i : i + 1], alone, fresh[:1])
        assert one.tobytes() == history[start:end].tobytes()
        assert end_state.tobytes() == last[i : i + 1].tobytes()
