"""The room that a round in the making has, and what is said when there is too little."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import add, sub

import numpy as np

from fogbank.domain import events as ev
from fogbank.domain.tenancy import Use
from fogbank.placement.arrays import (
    CPU,
    DIMENSIONS,
    GPU,
    MEMORY,
    FleetArrays,
    Integers,
    Selection,
    pick,
)
from fogbank.placement.journal import Journal
from fogbank.placement.kept_boards import Boards

# A node in plain numbers, which a step for one node takes in a tenth of the time: what is not
# promised of it as the round goes on, by dimension; its cpu and memory, 1 for none; its region's
# code.
PlainNode = tuple[list[int], float, float, int]


class Room:
    """The fleet's room as a round goes on: what the log says plus what the round has placed.

    `booked` can only be read: what a round takes goes through `take`, and what it promises to free
    through `free`, so that whoever keeps something for each node (`changes`) learns of it; on rows
    that are not among the `renewed` ones as well, only more was taken or seen, and only on
    the `scarce` ones what `expect` told of fitted before and does so no more. `leaving` are, by
    row, the replicas that the round itself orders to stop, `successors` by deployment the rows that
    it has placed successors of its replicas on, `taken` what it placed by cluster.
    """

    def __init__(self, arrays: FleetArrays) -> None:
        """Begin with what the log says."""
        self.arrays = arrays
        self.changes = Journal()
        self.renewed = Journal()
        self.scarce = Journal()
        # All amounts that are expected, in their order, and the largest, by dimension.
        self._expected = [[0] for _ in range(DIMENSIONS)]
        self._largest = [0] * DIMENSIONS
        self.leaving: dict[int, list[str]] = {}
        self.successors: dict[str, list[int]] = {}
        self.taken: dict[int, list[int]] = {}
        self._log_read = self._log_renewed = -1
        self._round_began = 0
        self._freed: dict[int, Integers] = {}
        # Rows on which more was taken in plain numbers than the columns say.
        self._unwritten: set[int] = set()
        self._copy()
        self.begin()
        self.boards = Boards(self)

    @classmethod
    def of(cls, arrays: FleetArrays) -> Room:
        """Begin with what the log says."""
        return cls(arrays)

    def begin(self) -> None:
        """Begin a round: go back to what the log says.

        Mostly that is what the round before left behind, for what it placed is in the log now.
        """
        arrays = self.arrays
        said = arrays.changes.since(self._log_read)
        renewed = arrays.renewed.since(self._log_renewed)
        taken = self.changes.since(self._round_began)
        if said is None or renewed is None or taken is None or self._booked.shape[1] != arrays.size:
            self._copy()
            self.changes = Journal(self.changes.end + 1)
            self.renewed = Journal(self.renewed.end + 1)
            self.scarce = Journal(self.scarce.end + 1)
        elif rows := list(dict.fromkeys([*said, *taken])):
            numbers = np.array(rows, dtype=np.int64)
            before, booked = pick(self.booked, numbers), pick(arrays.booked, numbers)
            fell = np.logical_or.reduce(booked < before)
            self._booked[:, numbers] = booked
            other = np.logical_or.reduce(booked != before)
            if other.any():
                self._forget_plain(compress(rows, other.tolist()))
                free = pick(arrays.allocatable, numbers) - booked
                self._note_scarce(rows, free, booked - before)
            self._forget_plain(renewed)
            self.changes.note_all(rows)
            self._changed_at[numbers] = self.changes.end
            self.renewed.note_all([*renewed, *compress(rows, fell.tolist())])
        self.cpu_load, self.memory_load = (load.data for load in arrays.load)
        self._log_read, self._log_renewed = arrays.changes.end, arrays.renewed.end
        self._round_began = self.changes.end
        self._freed.clear()
        self.leaving.clear()
        self.successors.clear()
        self.taken.clear()

    def _copy(self) -> None:
        # Nodes in plain numbers, where they are known, by row; the load of each as a share of 1.
        self.plain: list[PlainNode | None] = [None] * self.arrays.size
        self._unwritten.clear()
        self._booked = self.arrays.booked.copy()
        # How far `changes` went when each row changed last; the same again to read and write one.
        self._changed_at = np.zeros(self.arrays.size, dtype=np.int64)
        self.changed_at = self._changed_at.data
        self._readable = self._booked.view()
        self._readable.flags.writeable = False

    @property
    def booked(self) -> Integers:
        """What is promised as the round stands, by dimension and node; not to be written to."""
        if self._unwritten:
            rows = list(self._unwritten)
            plain, numbers = self.plain, np.array(rows, dtype=np.int64)
            amounts = chain.from_iterable([node[0] for row in rows if (node := plain[row])])
            free = np.fromiter(amounts, np.int64, len(rows) * DIMENSIONS).reshape(-1, DIMENSIONS).T
            self._booked[:, numbers] = pick(self.arrays.allocatable, numbers) - free
            self._unwritten.clear()
        return self._readable

    def take(self, rows: Sequence[int], asked: Sequence[int]) -> None:
        """Take what a replica asks for, by dimension, on each of these nodes, which differ."""
        self.changes.note_all(rows)
        self._unwritten.update(rows)
        cpu, memory, storage, gpu = asked
        most_cpu, most_memory, most_storage, most_gpu = self._largest
        changed_at, now, plain = self.changed_at, self.changes.end, self.plain
        for row in rows:
            changed_at[row] = now
            free = (plain[row] or self.make_plain(row))[0]
            free_cpu, free_memory, free_storage, free_gpu = free
            free_cpu -= cpu
            free_memory -= memory
            free_storage -= storage
            free_gpu -= gpu
            free[:] = (free_cpu, free_memory, free_storage, free_gpu)
            if (
                free_cpu < most_cpu
                or free_memory < most_memory
                or free_storage < most_storage
                or free_gpu < most_gpu
            ) and self._ends(free, asked):
                self.scarce.note_all([row])

    def last_changes(self, selection: Selection) -> Integers:
        """Return how far `changes` went when each of the selected nodes changed last."""
        return pick(self._changed_at, selection)

    def make_plain(self, row: int) -> PlainNode:
        """Note what a node is in plain numbers as the round stands, where that is not known."""
        arrays = self.arrays
        # What was taken in plain numbers is known in them.
        has, booked = arrays.allocatable[:, row].tolist(), self._booked[:, row].tolist()
        free = [*map(sub, has, booked)]
        region = arrays.region_codes.item(row)
        made = self.plain[row] = (free, float(has[CPU] or 1), float(has[MEMORY] or 1), region)
        return made

    def _forget_plain(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.plain[row] = None

    def expect(self, ask: Integers) -> None:
        """Note rows as `scarce` from now on where room for an ask (a column) comes to an end."""
        for known, amount in zip(self._expected, ask[:, 0].tolist(), strict=True):
            place = bisect_left(known, amount)
            if known[place : place + 1] != [amount]:
                known.insert(place, amount)
        self._largest = [known[-1] for known in self._expected]

    def _note_scarce(self, rows: Sequence[int], free: Integers, taken: Integers) -> None:
        """Note those of the rows that are scarce now: what is left, and what was taken of each."""
        if (free < np.array(self._largest)[:, None]).any():
            every = np.broadcast_to(taken, free.shape)
            for row, left, less in zip(rows, free.T.tolist(), every.T.tolist(), strict=True):
                if self._ends(left, less):
                    self.scarce.note_all([row])

    def _ends(self, left: Sequence[int], taken: Sequence[int]) -> bool:
        """Tell whether an amount that is expected fitted before so much was taken, and not now."""
        for known, now, less in zip(self._expected, left, taken, strict=True):
            if now < known[-1] and known[bisect_right(known, now)] <= now + less:
                return True
        return False

    def take_quota(self, cluster_id: int, more: Use) -> None:
        """Note what a cluster got of its quota, and of its organization's."""
        sums = self.taken.get(cluster_id)
        self.taken[cluster_id] = [*more] if sums is None else [*map(add, sums, more)]

    def free(self, row: int, amounts: Integers) -> None:
        """Book amounts (a column) on a node no more; they stay held until their replica ended."""
        self._booked[:, row] = self.booked[:, row] - amounts[:, 0]
        self._forget_plain([row])
        self._freed[row] = self._freed.get(row, 0) + amounts[:, 0]
        self.changes.note_all([row])
        self.renewed.note_all([row])
        self._changed_at[row] = self.changes.end

    def overfull(self, row: int) -> bool:
        """Tell whether a node holds more than it has, for what is to end there still runs."""
        arrays = self.arrays
        taken = self.booked[:, row] + self._freed.get(row, 0) - arrays.booked[:, row]
        return bool((arrays.held[:, row] + taken > arrays.allocatable[:, row]).any())

    def crowded(self, ask: Integers, most: int, booked: Integers | None = None) -> list[int]:
        """Return the rows where an ask (a column) would start after more than `most` others.

        It would if the node then held more than it has; `booked` (by dimension and node) takes the
        place of what the log and this round have promised by now.
        """
        arrays, stopping = self.arrays, self.arrays.stopping
        if not arrays.ending and not self.leaving:
            return []
        if self.leaving:
            stopping = stopping.copy()
            for row, ordered in self.leaving.items():
                stopping[row] += len(ordered)
        rows = np.flatnonzero(stopping > most)
        closed: list[int] = rows.tolist()
        if not closed or ask[GPU, 0]:  # a device of its own may be held where the node is not full
            return closed
        promised = pick(self.booked if booked is None else booked, rows)
        held = pick(arrays.held, rows) + promised - pick(arrays.booked, rows) + ask
        for place, row in enumerate(closed):
            held[:, place] += self._freed.get(row, 0)
        full = np.logical_or.reduce(held > pick(arrays.allocatable, rows))
        return [*compress(closed, full.tolist())]

    @property
    def frees(self) -> bool:
        """Whether this round promised to free anything."""
        return bool(self._freed)

    def freed(self, row: int) -> bool:
        """Tell whether this round promised to free something on a node."""
        return row in self._freed


@dataclass(frozen=True, slots=True)
class Shortage:
    """No room: how many nodes were needed and found, and whether none could ever do.

    It is a `quota` that is full, or would be too small if it were empty, and not the nodes.
    What is hopeless fails, whether it was placed before or not. `unsettled` when what this round
    itself decided may make room in the next: then nothing is said. `passing` while nodes are closed
    to so large an ask only until what is to stop there has: that is waited for.
    """

    reason: str
    available: int
    considered: ev.Considered
    impossible: bool = False
    no_nodes: bool = False
    hopeless: bool = False
    unsettled: bool = False
    quota: bool = False
    passing: bool = False
