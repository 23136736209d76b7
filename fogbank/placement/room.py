"""The room that a round in the making has, and what is said when there is too little."""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.domain import events as ev
from fogbank.placement.arrays import FleetArrays, Integers


@dataclass(slots=True)
class Room:
    """The fleet's room as a round goes on: what the log says plus what the round has placed."""

    arrays: FleetArrays
    booked: Integers
    held: Integers

    @classmethod
    def of(cls, arrays: FleetArrays) -> Room:
        """Begin with what the log says."""
        return cls(arrays, arrays.booked.copy(), arrays.held.copy())


@dataclass(frozen=True, slots=True)
class Shortage:
    """No room: how many nodes were needed and found, and whether none could ever do."""

    reason: str
    available: int
    considered: ev.Considered
    impossible: bool = False
    no_nodes: bool = False
