"""What the replicas on a node take: sums kept by whole amounts as replicas come and go."""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.resources import Resources

# Amounts: cpu (millicores), memory (MiB), storage (GiB) and gpu (thousandths).
Sums = list[int]

# Stands for all sums of nothing, and is replaced rather than changed.
_NONE: Sums = [0, 0, 0, 0]


class NodeUse:
    """The replicas on a node that have not ended, and what they take in all.

    `held` is taken by all of them, and `stopped` by those that rounds released; the others are
    booked. `seen` is taken by the booked ones placed up to commit `reflects`, which the node's load
    shows. `room` is what replicas may use of the node, as far as it is known. So many of them as
    `stopping` are released.
    """

    __slots__ = (
        "_aside",
        "_latest",
        "held",
        "reflects",
        "replicas",
        "room",
        "seen",
        "stopped",
        "stopping",
    )

    def __init__(self, room: Resources | None = None) -> None:
        """Begin with an empty node."""
        self.room = room
        self.replicas: dict[str, PlacedReplica] = {}
        self.held: Sums = [0, 0, 0, 0]
        self.stopped: Sums = _NONE
        self.stopping = 0
        self.seen: Sums = _NONE
        self.reflects = 0
        # No replica was placed by a later commit.
        self._latest = 0
        # Of those that are not to go on where they are, whether they are booked: mostly none.
        self._aside: dict[str, bool] = {}

    @property
    def booked(self) -> Sums:
        """What those take that rounds did not release."""
        if self.stopped is _NONE:
            return self.held
        return [held - stopped for held, stopped in zip(self.held, self.stopped, strict=True)]

    @property
    def live(self) -> int:
        """How many replicas are to run on here: none that leaves, stops or was given up."""
        return len(self.replicas) - len(self._aside)

    def place(self, placed: PlacedReplica) -> bool:
        """Count a new replica that is to run here; tell whether all that is booked fits then."""
        self.replicas[placed.id] = placed
        held, takes = self.held, placed.resources
        cpu = held[0] = held[0] + takes.cpu_millicores
        memory = held[1] = held[1] + takes.memory_mib
        storage = held[2] = held[2] + takes.storage_gib
        gpu = held[3] = held[3] + takes.gpu_thousandths
        sequence = placed.placed_sequence
        self._latest = max(self._latest, sequence)
        if sequence <= self.reflects:
            self.seen = _more(self.seen, takes)
        room = self.room
        return (
            room is None
            or (
                cpu <= room.cpu_millicores
                and memory <= room.memory_mib
                and storage <= room.storage_gib
                and gpu <= room.gpu_thousandths
            )
            or (self.stopping > 0 and self.fits())
        )

    def put(self, placed: PlacedReplica) -> None:
        """Count a replica as it is now, in place of how it was counted before."""
        known, booked = placed.id in self.replicas, placed.desired is not Desired.RELEASED
        if not known:
            self.place(placed)
        was_booked = self._aside.pop(placed.id, True)
        if placed.desired is not Desired.LIVE:
            self._aside[placed.id] = booked
        if was_booked and not booked:
            self.stopping += 1
            self.stopped = _more(self.stopped, placed.resources)
            self._see_no_more(placed)
        elif booked and not was_booked:
            self._one_less_stops(placed)
            if placed.placed_sequence <= self.reflects:
                self.seen = _more(self.seen, placed.resources)

    def remove(self, replica_id: str) -> bool:
        """Count a replica no more; tell whether it was counted."""
        placed = self.replicas.pop(replica_id, None)
        if placed is None:
            return False
        self.held = _less(self.held, placed.resources)
        if self._aside.pop(replica_id, True):
            self._see_no_more(placed)
        else:
            self._one_less_stops(placed)
        return True

    def bookings(self) -> Iterator[PlacedReplica]:
        """Yield the replicas that are booked."""
        for replica_id, placed in self.replicas.items():
            if self._aside.get(replica_id, True):
                yield placed

    def fits(self) -> bool:
        """Tell whether what is booked is at most the room, amount by amount."""
        return self.room is None or Resources(*self.booked).fits_in(self.room)

    def load_reflects(self, sequence: int) -> None:
        """Take in up to which commit the node's load shows what is placed."""
        # Between the two there is nobody where both are beyond the latest.
        if min(sequence, self.reflects) < self._latest and sequence != self.reflects:
            if sequence >= self._latest:
                self.seen = [*self.booked]
            else:
                seen = _NONE
                for placed in self.bookings():
                    if placed.placed_sequence <= sequence:
                        seen = _more(seen, placed.resources)
                self.seen = seen
        self.reflects = sequence

    def _one_less_stops(self, placed: PlacedReplica) -> None:
        self.stopping -= 1
        self.stopped = _less(self.stopped, placed.resources) if self.stopping else _NONE

    def _see_no_more(self, placed: PlacedReplica) -> None:
        """Let a replica that is no longer booked be none of those that the load shows."""
        if placed.placed_sequence <= self.reflects:
            self.seen = _less(self.seen, placed.resources)


def _more(sums: Sums, takes: Resources) -> Sums:
    cpu, memory, storage, gpu = sums
    return [
        cpu + takes.cpu_millicores,
        memory + takes.memory_mib,
        storage + takes.storage_gib,
        gpu + takes.gpu_thousandths,
    ]


def _less(sums: Sums, takes: Resources) -> Sums:
    cpu, memory, storage, gpu = sums
    return [
        cpu - takes.cpu_millicores,
        memory - takes.memory_mib,
        storage - takes.storage_gib,
        gpu - takes.gpu_thousandths,
    ]
