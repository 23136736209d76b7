"""The cheapest nodes are found without sorting all of them."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fogbank.placement.prices import foremost


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 2)), max_size=40),
    st.integers(1, 45),
    st.randoms(use_true_random=False),
)
def test_the_foremost_are_the_first_of_all_sorted(
    pairs: list[tuple[int, int]], count: int, chance: Random
) -> None:
    ranks = chance.sample(range(len(pairs)), len(pairs))
    price, since = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    keys = (price, since, np.array(ranks, dtype=np.int64))
    rows = np.array([row for row in range(len(pairs)) if row % 3], dtype=np.int64)
    in_order = sorted(rows.tolist(), key=lambda row: [key[row] for key in keys])
    assert foremost(rows, keys, count).tolist() == in_order[:count]
