"""What it costs to evict from nodes, as one number for each: the smaller, the cheaper.

Highest priority evicted (one up, 0 for nobody), then the sum of priorities, the number of victims,
and the number of deployments broken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fogbank.placement.arrays import Integers
from fogbank.placement.victims import NOT_YET_US, VictimTable

NO_PRICE = (1 << 62) - 1
# So many bits for each part but the first.
_SUM_BITS, _COUNT_BITS = 24, 12


@dataclass(slots=True)
class Prices:
    """What each node costs for one kind of ask, kept while a round is decided.

    `price` is a number, the smaller the cheaper; `since` is since when the oldest victim runs.
    """

    price: Integers
    since: Integers
    reckoned_with: Integers

    @classmethod
    def begin(cls, reckoned_with: Integers, size: int) -> Prices:
        """Begin with nodes that cannot be had."""
        price = np.full(size, NO_PRICE, dtype=np.int64)
        return cls(price, np.full(size, NOT_YET_US, dtype=np.int64), reckoned_with)


def prices_of(
    table: VictimTable, where: Integers, victims: Integers, size: int
) -> tuple[Integers, Integers]:
    """Return what evicting victims costs, and since when the oldest runs, by where they are."""
    highest = np.zeros(size, dtype=np.int64)
    np.maximum.at(highest, where, table.priority[victims] + 1)
    total = np.zeros_like(highest)
    np.add.at(total, where, table.priority[victims])
    since = np.full(size, NOT_YET_US, dtype=np.int64)
    np.minimum.at(since, where, table.since[victims])
    price = highest << _SUM_BITS | np.minimum(total, (1 << _SUM_BITS) - 1)
    for part in (
        np.bincount(where, minlength=size),
        _distinct(where, table.deployment[victims], size),
    ):
        price = price << _COUNT_BITS | np.minimum(part, (1 << _COUNT_BITS) - 1)
    return price, since


def _distinct(rows: Integers, deployments: Integers, size: int) -> Integers:
    """Return for each node how many deployments there are among entries."""
    order = np.lexsort((deployments, rows))
    rows, deployments = rows[order], deployments[order]
    first = np.ones(rows.size, dtype=np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (deployments[1:] != deployments[:-1])
    return np.bincount(rows[first], minlength=size)
