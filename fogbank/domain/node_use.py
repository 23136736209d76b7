"""What the replicas on a node take: sums kept by whole amounts as replicas come and go."""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.resources import Resources


class NodeUse:
    """The replicas on a node that have not ended, and what they take in all.

    `held` is taken by all of them, `booked` by those that rounds did not release, `unseen` by the
    booked ones placed after commit `reflects`, which the node's load does not show yet. Each is a
    list of cpu (millicores), memory (MiB), storage (GiB) and gpu (thousandths). So many of them as
    `stopping` are released; while none is, `booked` and `held` are one list.
    """

    __slots__ = (
        "_aside",
        "_unseen",
        "booked",
        "held",
        "reflects",
        "replicas",
        "stopping",
        "unseen",
    )

    def __init__(self) -> None:
        """Begin with an empty node."""
        self.replicas: dict[str, PlacedReplica] = {}
        self.booked = self.held = [0, 0, 0, 0]
        self.unseen = [0, 0, 0, 0]
        self.stopping = 0
        self.reflects = 0
        self._unseen: dict[str, PlacedReplica] = {}
        # Of those that are not to go on where they are, whether they are booked: mostly none.
        self._aside: dict[str, bool] = {}

    @property
    def live(self) -> int:
        """How many replicas are to run on here: none that leaves, stops or was given up."""
        return len(self.replicas) - len(self._aside)

    def put(self, placed: PlacedReplica) -> None:
        """Count a replica as it is now, in place of how it was counted before."""
        known, booked = placed.id in self.replicas, placed.desired is not Desired.RELEASED
        was_booked = known and self._aside.pop(placed.id, True)
        if placed.desired is not Desired.LIVE:
            self._aside[placed.id] = booked
        if known and was_booked == booked:
            return
        if not booked:
            self._one_more_stops()
        if not known:
            self.replicas[placed.id] = placed
            _add(self.held, placed.resources)
        if booked:
            self._book(placed)
            if known:
                self._one_less_stops()
        elif known:
            self._unbook(placed)

    def remove(self, replica_id: str) -> bool:
        """Count a replica no more; tell whether it was counted."""
        placed = self.replicas.pop(replica_id, None)
        if placed is None:
            return False
        _subtract(self.held, placed.resources)
        if self._aside.pop(replica_id, True):
            self._unbook(placed)
        else:
            self._one_less_stops()
        return True

    def bookings(self) -> Iterator[PlacedReplica]:
        """Yield the replicas that are booked."""
        for replica_id, placed in self.replicas.items():
            if self._aside.get(replica_id, True):
                yield placed

    def fits_in(self, room: Resources) -> bool:
        """Tell whether what is booked is at most the room, amount by amount."""
        cpu, memory, storage, gpu = self.booked
        return (
            cpu <= room.cpu_millicores
            and memory <= room.memory_mib
            and storage <= room.storage_gib
            and gpu <= room.gpu_thousandths
        )

    def _one_more_stops(self) -> None:
        self.stopping += 1
        if self.booked is self.held:
            self.booked = [*self.held]

    def _one_less_stops(self) -> None:
        self.stopping -= 1
        if not self.stopping:
            self.booked = self.held

    def _book(self, placed: PlacedReplica) -> None:
        """Count a replica that is held among the booked ones."""
        if self.booked is not self.held:
            _add(self.booked, placed.resources)
        if placed.placed_sequence > self.reflects:
            self._unseen[placed.id] = placed
            _add(self.unseen, placed.resources)

    def _unbook(self, placed: PlacedReplica) -> None:
        if self.booked is not self.held:
            _subtract(self.booked, placed.resources)
        if self._unseen.pop(placed.id, None) is not None:
            _subtract(self.unseen, placed.resources)

    def load_reflects(self, sequence: int) -> None:
        """Take in up to which commit the node's load shows what is placed."""
        if sequence > self.reflects:
            # It shows what it showed before, and some of the rest: mostly there is none.
            self.reflects = sequence
            for placed in [*self._unseen.values()]:
                if placed.placed_sequence <= sequence:
                    del self._unseen[placed.id]
                    _subtract(self.unseen, placed.resources)
        elif sequence < self.reflects:
            self.reflects = sequence
            for placed in self.bookings():
                if placed.placed_sequence > sequence and placed.id not in self._unseen:
                    self._unseen[placed.id] = placed
                    _add(self.unseen, placed.resources)


def _add(sums: list[int], resources: Resources) -> None:
    sums[0] += resources.cpu_millicores
    sums[1] += resources.memory_mib
    sums[2] += resources.storage_gib
    sums[3] += resources.gpu_thousandths


def _subtract(sums: list[int], resources: Resources) -> None:
    sums[0] -= resources.cpu_millicores
    sums[1] -= resources.memory_mib
    sums[2] -= resources.storage_gib
    sums[3] -= resources.gpu_thousandths
