"""What each node is worth before anything is asked of it, kept once for the boards of a strategy.

Where the terms of a strategy are linear, a node's score in steps is its base, by what is free and
idle there, plus what an ask takes off it and nearness adds, which changes only when the node itself
does. So boards for many kinds of asks share what is worked out when more is booked on a node, and
a board adds two numbers. Added up in this order they may differ in the last bits from what the
strategy says: a sum that is close to a whole number is left to the strategy itself.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import numpy as np

from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers, Selection, pick
from fogbank.placement.strategies import ALL, OfOne, Strategy

if TYPE_CHECKING:
    from fogbank.placement.room import Room

# Within so much of a whole number a sum is close to it: a million times what rounding can do.
CLOSE = 1e-6
NOT_CLOSE = 1.0 - CLOSE
# Above so many changed nodes it costs less to work them out by arrays.
_FEW = 24


class Bases:
    """The base of each node of a room, in steps; `refresh`ed before they are read."""

    def __init__(self, room: Room, total: OfOne, steps: int) -> None:
        """Begin with none known."""
        self.room = room
        self.total = total
        self.steps = steps
        self._seen = -1
        # The same twice: for many nodes, and to read one.
        self.by_row: Floats = np.empty(0, dtype=np.float64)
        self.of_row = self.by_row.data

    def refresh(self) -> None:
        """Work out what changed since the last time."""
        changes = self.room.changes
        if changes.end == self._seen:
            return
        rows = changes.since(self._seen)
        self._seen = changes.end
        if rows is None:
            self.by_row = np.empty(self.room.arrays.size, dtype=np.float64)
            self.of_row = self.by_row.data
            self._work_out(ALL)
        elif len(rows) > _FEW:
            self._work_out(np.array(rows, dtype=np.int64))
        else:
            self._work_out_few(rows)

    def _work_out_few(self, rows: list[int]) -> None:
        room, total, steps, of_row = self.room, self.total, self.steps, self.of_row
        plain, cpu_load, memory_load = room.plain, room.cpu_load, room.memory_load
        for row in rows:
            free, cpu, memory, _ = plain[row] or room.make_plain(row)
            cpu_idle, memory_idle = 1.0 - cpu_load[row], 1.0 - memory_load[row]
            terms = total(free[CPU], free[MEMORY], cpu, memory, cpu_idle, memory_idle, 0.0)
            of_row[row] = terms * steps

    def _work_out(self, selection: Selection) -> None:
        arrays = self.room.arrays
        has = pick(arrays.allocatable[: MEMORY + 1], selection)
        cpu_free, memory_free = (has - pick(self.room.booked[: MEMORY + 1], selection)) * 1.0
        cpu, memory = _at_least_one(has)
        cpu_idle, memory_idle = 1.0 - pick(arrays.load, selection)
        nowhere = np.zeros(1, dtype=np.float64)
        terms = self.total(cpu_free, memory_free, cpu, memory, cpu_idle, memory_idle, nowhere)
        self.by_row[selection] = terms * self.steps


class Sums:
    """The score of each node for one kind of ask before it is cut: its base and its offset."""

    def __init__(self, bases: Bases, asked: list[int], strategy: Strategy) -> None:
        """Begin with no offsets known."""
        self.bases = bases
        self._asked = asked
        self._whole_above = strategy.whole_above
        # How near each region is to the one asked about.
        self._near: Floats = np.empty(0, dtype=np.float64)
        # The same twice: for many nodes, and to read one.
        self._offset: Floats = np.empty(0, dtype=np.float64)
        self.offset_of = self._offset.data

    def refresh(self, near: Floats) -> None:
        """Learn how near each region is, and what changed of the bases."""
        self._near = near
        self.bases.refresh()

    def work_out(self, selection: Selection) -> None:
        """Work out the offsets of selected nodes, which they themselves tell, or of all."""
        bases, arrays = self.bases, self.bases.room.arrays
        if self._offset.shape[0] != arrays.size:
            self._offset = np.empty(arrays.size, dtype=np.float64)
            self.offset_of = self._offset.data
        cpu, memory = _at_least_one(pick(arrays.allocatable[: MEMORY + 1], selection))
        taken_cpu, taken_memory = np.array(self._asked[: MEMORY + 1], dtype=np.float64)[:, None]
        none = np.zeros(1, dtype=np.float64)
        near = self._near.take(pick(arrays.region_codes, selection))
        terms = bases.total(-taken_cpu, -taken_memory, cpu, memory, none, none, near)
        self._offset[selection] = terms * bases.steps + self._whole_above

    def scores(self, rows: Integers) -> tuple[Integers, Integers]:
        """Return the scores of nodes where the ask fits, and the places of those to be looked at.

        These are the ones that are close to another score: the strategy must tell which it is.
        """
        sums = self.bases.by_row.take(rows)
        sums += self._offset.take(rows)
        whole = np.floor(sums)
        scores = whole.astype(np.int64)
        sums -= whole
        sums -= 0.5
        np.abs(sums, out=sums)
        return scores, np.flatnonzero(sums > 0.5 - CLOSE)

    def score_of_one(self, row: int) -> int:
        """Return what the strategy says of a node where the ask fits."""
        bases, room = self.bases, self.bases.room
        free, cpu, memory, region = room.plain[row] or room.make_plain(row)
        terms: float = bases.total(
            free[CPU] - self._asked[CPU],
            free[MEMORY] - self._asked[MEMORY],
            cpu,
            memory,
            1.0 - room.cpu_load[row],
            1.0 - room.memory_load[row],
            self._near.item(region),
        )
        return floor(terms * bases.steps + self._whole_above)


def _at_least_one(room: Integers) -> Floats:
    most: Floats = np.maximum(room, 1) * 1.0
    return most
