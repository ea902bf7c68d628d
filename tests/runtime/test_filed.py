"""Which recorded readings stood in their file after a newer one of their channel."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.filed import out_of_order

rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 30)), unique_by=lambda r: r[2])


@given(rows)
def test_a_reading_is_out_of_order_if_a_newer_one_of_its_group_stands_above_it(
    some: list[tuple[int, int, int]],
) -> None:
    group, time, position = np.array(some, np.int64).reshape(-1, 3).T
    said = out_of_order(group, time, position).tolist()
    assert said == [any(h == g and u > t and q < p for h, u, q in some) for g, t, p in some]
