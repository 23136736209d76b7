"""A round in the making: what its steps share, and what outcomes cost of its limit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, TypeVarTuple

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.placement.agenda import Agenda, Group, Look, Shape
from fogbank.placement.room import Room
from fogbank.placement.victims import Evictions, VictimTable

# So many names of leaving replicas in a round take the place of one replica decided on.
_NAMES_PER_REPLICA = 8

_Found = TypeVar("_Found")
_Asked = TypeVarTuple("_Asked")


@dataclass(slots=True)
class Work:
    """A round in the making.

    `in_vain` holds for each shape the fewest slots for which no room was found, with the cluster
    where it was for want of quota, else 0; `unsettled` are
    shapes for which the next round may find room that this one can't see. `moved` are the
    deployments that a mover decided about, or whose replicas are evicted: they are not looked at
    in this round. `victims` are the replicas that may give way. `broken` are the looks that raised
    when the round was tried before, by name: what they left behind half-way went with that try.
    """

    instant_us: int
    room: Room
    agenda: Agenda
    victims: VictimTable
    budget: int
    outcomes: list[ev.Outcome] = field(default_factory=list)
    broken: Mapping[str, Exception] = field(default_factory=dict)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    looked_in_vain: set[Hashable] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    in_vain: dict[tuple[Shape, int], int] = field(default_factory=dict)
    unsettled: set[Shape] = field(default_factory=set)
    evictions: Evictions | None = None

    def no_room_for(self, shape: Shape, slots: int, quota_of: int = 0) -> None:
        """Note that there are not so many nodes of a kind left; there will be no more of them.

        Or not enough quota, in a cluster.
        """
        key = (shape, quota_of)
        self.in_vain[key] = min(slots, self.in_vain.get(key, slots))

    def hopeless(self, group: Group) -> bool:
        """Tell whether looks are sure to find no room: no more was asked for, in vain, before."""
        if group.alone:
            return False
        failed = self.in_vain.get((group.shape, 0))
        if failed is not None and failed <= group.vacant:
            return True
        failed = self.in_vain.get((group.shape, group.quota_of)) if group.quota_of else None
        return failed is not None and failed <= group.vacant

    def attempt(
        self, name: str, look: Callable[[*_Asked], _Found], *asked: *_Asked
    ) -> _Found | Exception:
        """Make a look, unless it is a broken one; what it raises is noted and returned."""
        error = self.broken.get(name)
        if error is None:
            try:
                return look(*asked)
            except Exception as raised:  # noqa: BLE001  one bad deployment must not stop the others
                error = raised
        self.errors.append((name, error))
        return error

    def attempt_move(self, look: Look, make: Callable[[], _Found]) -> _Found | None:
        """Make a mover's look; one that raises is in vain, and the round must not speak of it."""
        found = self.attempt(look.name, make)
        if isinstance(found, Exception):
            self.looked_in_vain |= {look, look.name}
            return None
        return found

    def add(self, outcome: ev.Outcome) -> None:
        """Write an outcome down and take from the budget what it costs."""
        self.outcomes.append(outcome)
        self.budget -= cost(outcome)

    def mover_decided(self, deployment_id: str) -> None:
        """Leave a deployment alone for the rest of the round: no look, and nobody evicts of it."""
        self.moved.add(deployment_id)
        if self.evictions is not None:
            self.evictions.bar(deployment_id)


class Mover(NamedTuple):
    """Decides about replicas that have a node.

    `groups` yields groups of outcomes that belong into one round; it is asked for another only
    while the round has budget left, and passes over the deployments in `work.moved`. `due_us` is
    the instant from which it has something to write down: 0 for now, None for not by time alone.
    """

    groups: Callable[[FleetState, Work], Iterable[list[ev.Outcome]]]
    due_us: Callable[[FleetState, Agenda], int | None]


def move(movers: Iterable[Mover], fleet: FleetState, work: Work) -> None:
    """Let movers write down what they decide until the round is full."""
    for mover in movers:
        for group in mover.groups(fleet, work):
            for outcome in group:
                work.add(outcome)
                if not isinstance(outcome, ev.OF_THE_FLEET):
                    work.mover_decided(outcome.deployment_id)
            if work.budget <= 0:
                return


def cost(outcome: ev.Outcome) -> int:
    """Return how much of a round's limit an outcome takes, so that a round fits in a commit."""
    match outcome:
        case ev.DeploymentPlaced():
            return len(outcome.placements) + others_named(outcome) // _NAMES_PER_REPLICA
        case ev.ReplicasReleased() | ev.ReplicasSuspended() | ev.ReplicasRestored():
            return max(len(outcome.replica_ids), 1)
        case _:
            return 1


def others_named(outcome: ev.DeploymentPlaced) -> int:
    """Return how many names of other replicas there are in an outcome."""
    names = 0
    for placement in outcome.placements:
        names += len(placement.starts_after)
    for eviction in outcome.evictions:
        names += len(eviction.replica_ids)
    return names
