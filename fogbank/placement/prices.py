"""What it costs to evict from nodes, as one number for each: the smaller, the cheaper.

Highest priority evicted (one up, 0 for nobody), then the sum of priorities, the number of victims,
and the number of deployments broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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
    # Who would have to leave, in the order of nodes, and where they are; of some nodes anew since.
    _victims: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _where: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _anew: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def begin(cls, reckoned_with: Integers, size: int) -> Prices:
        """Begin with nodes that cannot be had."""
        price = np.full(size, NO_PRICE, dtype=np.int64)
        return cls(price, np.full(size, NOT_YET_US, dtype=np.int64), reckoned_with)

    def copy(self) -> Prices:
        """Return the same, whose prices may be changed."""
        return replace(self, price=self.price.copy(), since=self.since.copy())

    def note_victims(self, victims: Integers, where: Integers) -> None:
        """Note who would have to leave each node so that one ask fits, and on which that is."""
        self._victims, self._where = victims, where

    def note_victims_on(self, rows: Iterable[int], victims: Integers, where: Integers) -> None:
        """Note the same of some nodes anew."""
        self._anew.update((row, []) for row in rows)
        for entry, row in zip(victims.tolist(), where.tolist(), strict=True):
            self._anew[row].append(entry)

    def victims_on(self, row: int) -> list[int]:
        """Return who would have to leave a node that can be had."""
        anew = self._anew.get(row)
        if anew is not None:
            return [*anew]
        first, last = self._where.searchsorted((row, row + 1)).tolist()
        found: list[int] = self._victims[first:last].tolist()
        return found


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


def foremost(rows: Integers, keys: Sequence[Integers], count: int) -> Integers:
    """Return the first `count` rows, in their order: by the first key, of equals by the next.

    Each key has a number for every row, and equals by all keys there are none. To sort all rows, of
    which thousands may be equal by the first keys, takes ten times as long.
    """
    first: list[Integers] = []
    equal = rows
    for key in keys:
        if equal.size > count:
            values = key[equal]
            last = np.partition(values, count - 1)[count - 1]
            first.append(equal[values < last])
            count -= first[-1].size
            equal = equal[values == last]
    found = np.concatenate((*first, equal))
    return found[np.lexsort([key[found] for key in reversed(keys)])]
