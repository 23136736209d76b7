"""The room that a round in the making has, and what is said when there is too little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fogbank.domain import events as ev
from fogbank.placement.arrays import DIMENSIONS, FleetArrays, Integers
from fogbank.placement.boards import Boards
from fogbank.placement.journal import Journal

_PLENTY = (1 << 62,) * DIMENSIONS


class Room:
    """The fleet's room as a round goes on: what the log says plus what the round has placed.

    `booked` and `held` can only be read: what a round takes goes through `take`, and what it
    promises to free through `free`, so that whoever keeps something for each node (`changes`)
    learns of it. Since position `grew_at` of the changes room was only taken, and on each node that
    it was taken on at least `least_left` of each dimension is free. `leaving` are, by row, the
    replicas that the round itself orders to stop.
    """

    def __init__(self, arrays: FleetArrays) -> None:
        """Begin with what the log says."""
        self.arrays = arrays
        self.changes = Journal()
        self.grew_at = 0
        self.least_left: tuple[int, ...] = _PLENTY
        self.leaving: dict[int, list[str]] = {}
        self._log_read = -1
        self._round_began = 0
        self._freed: set[int] = set()
        self._copy()
        self.begin()
        self.boards = Boards(self)

    @classmethod
    def of(cls, arrays: FleetArrays) -> Room:
        """Begin with what the log says."""
        return cls(arrays)

    def begin(self) -> None:
        """Begin a round: go back to what the log says."""
        arrays = self.arrays
        said = arrays.changes.since(self._log_read) if self._log_read >= 0 else None
        taken = self.changes.since(self._round_began)
        if said is None or taken is None or self._booked.shape[1] != arrays.size:
            self._copy()
            self.changes = Journal(self.changes.end + 1)
        elif rows := [*said, *taken]:
            self._booked[:, rows] = arrays.booked[:, rows]
            self._held[:, rows] = arrays.held[:, rows]
            self.changes.note_all(rows)
        self.grew_at = self.changes.end
        self.least_left = _PLENTY
        self._log_read = arrays.changes.end
        self._round_began = self.changes.end
        self._freed.clear()
        self.leaving.clear()

    def _copy(self) -> None:
        self._booked, self._held = self.arrays.booked.copy(), self.arrays.held.copy()
        self.booked, self.held = self._booked.view(), self._held.view()
        self.booked.flags.writeable = self.held.flags.writeable = False

    def take(self, rows: Sequence[int], ask: Integers) -> None:
        """Take what a replica asks for (a column) on each of these nodes: some, which differ."""
        if len(rows) == 1:
            row, amounts = rows[0], ask[:, 0]
            booked, allocatable = self._booked[:, row], self.arrays.allocatable[:, row]
            booked += amounts
            self._held[:, row] += amounts
            left = (allocatable - booked).tolist()
        else:
            chosen = list(rows)
            self._booked[:, chosen] += ask
            self._held[:, chosen] += ask
            left = (
                (self.arrays.allocatable[:, chosen] - self._booked[:, chosen]).min(axis=1).tolist()
            )
        self.least_left = tuple(map(min, self.least_left, left))
        self.changes.note_all(rows)

    def free(self, row: int, amounts: Integers) -> None:
        """Book amounts (a column) on a node no more; they stay held until their replica ended."""
        self._booked[:, row] -= amounts[:, 0]
        self._freed.add(row)
        self.changes.note_all([row])
        self.grew_at = self.changes.end
        self.least_left = _PLENTY

    def overfull(self, row: int) -> bool:
        """Tell whether a node holds more than it has, for what is to end there still runs."""
        return bool((self._held[:, row] > self.arrays.allocatable[:, row]).any())

    def freed(self, row: int) -> bool:
        """Tell whether this round promised to free something on a node."""
        return row in self._freed


@dataclass(frozen=True, slots=True)
class Shortage:
    """No room: how many nodes were needed and found, and whether none could ever do.

    What is hopeless fails, whether it was placed before or not. `unsettled` when what this round
    itself decided may make room in the next: then nothing is said.
    """

    reason: str
    available: int
    considered: ev.Considered
    impossible: bool = False
    no_nodes: bool = False
    hopeless: bool = False
    unsettled: bool = False
