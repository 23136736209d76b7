"""What the replicas on a node take: sums kept by whole amounts as replicas come and go."""

from __future__ import annotations

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.resources import Resources


class NodeUse:
    """The replicas on a node that have not ended, and what they take in all.

    `held` is taken by all of them, `booked` by those that rounds did not release, `unseen` by the
    booked ones placed after commit `reflects`, which the node's load does not show yet. Each is a
    list of cpu (millicores), memory (MiB), storage (GiB) and gpu (thousandths). So many of them as
    `stopping` are released.
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
        self.replicas: dict[str, tuple[PlacedReplica, bool]] = {}
        self.booked = [0, 0, 0, 0]
        self.held = [0, 0, 0, 0]
        self.unseen = [0, 0, 0, 0]
        self.stopping = 0
        self.reflects = 0
        self._unseen: dict[str, PlacedReplica] = {}
        # Those that are not to go on where they are: mostly there is none.
        self._aside: dict[str, None] = {}

    @property
    def live(self) -> int:
        """How many replicas are to run on here: none that leaves, stops or was given up."""
        return len(self.replicas) - len(self._aside)

    def put(self, placed: PlacedReplica) -> None:
        """Count a replica as it is now, in place of how it was counted before."""
        if placed.desired is Desired.LIVE and placed.id not in self.replicas:  # mostly so
            self.replicas[placed.id] = (placed, True)
            if placed.placed_sequence > self.reflects:
                _add(placed.resources, self.held, self.booked, self.unseen)
                self._unseen[placed.id] = placed
            else:
                _add(placed.resources, self.held, self.booked)
            return
        if placed.desired is Desired.LIVE:
            self._aside.pop(placed.id, None)
        else:
            self._aside[placed.id] = None
        known = self.replicas.get(placed.id)
        booked = placed.desired is not Desired.RELEASED
        if known is None:
            _add(placed.resources, self.held)
        elif known[1] == booked:
            return
        self.replicas[placed.id] = (placed, booked)
        if known is not None and not known[1]:
            self.stopping -= 1
        if booked:
            self._book(placed)
            return
        self.stopping += 1
        if known is not None:
            self._unbook(placed)

    def remove(self, replica_id: str) -> bool:
        """Count a replica no more; tell whether it was counted."""
        known = self.replicas.pop(replica_id, None)
        if known is None:
            return False
        self._aside.pop(replica_id, None)
        placed, booked = known
        _subtract(self.held, placed.resources)
        if booked:
            self._unbook(placed)
        else:
            self.stopping -= 1
        return True

    def fits_in(self, room: Resources) -> bool:
        """Tell whether what is booked is at most the room, amount by amount."""
        cpu, memory, storage, gpu = self.booked
        return (
            cpu <= room.cpu_millicores
            and memory <= room.memory_mib
            and storage <= room.storage_gib
            and gpu <= room.gpu_thousandths
        )

    def _book(self, placed: PlacedReplica) -> None:
        if placed.placed_sequence > self.reflects:
            _add(placed.resources, self.booked, self.unseen)
            self._unseen[placed.id] = placed
        else:
            _add(placed.resources, self.booked)

    def _unbook(self, placed: PlacedReplica) -> None:
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
            for placed, booked in self.replicas.values():
                if booked and placed.placed_sequence > sequence and placed.id not in self._unseen:
                    self._unseen[placed.id] = placed
                    _add(placed.resources, self.unseen)


def _add(resources: Resources, *every: list[int]) -> None:
    cpu, memory = resources.cpu_millicores, resources.memory_mib
    storage, gpu = resources.storage_gib, resources.gpu_thousandths
    for sums in every:
        sums[0] += cpu
        sums[1] += memory
        sums[2] += storage
        sums[3] += gpu


def _subtract(sums: list[int], resources: Resources) -> None:
    sums[0] -= resources.cpu_millicores
    sums[1] -= resources.memory_mib
    sums[2] -= resources.storage_gib
    sums[3] -= resources.gpu_thousandths
