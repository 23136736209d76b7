"""A round in the making: what its steps share, and what outcomes cost of its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.placement.agenda import Agenda
from fogbank.placement.room import Room

# So many names of leaving replicas in a round take the place of one replica decided on.
_NAMES_PER_REPLICA = 8

# What tells for which nodes replicas are fit.
Shape = tuple[Resources, tuple[Constraint, ...], str, bool]


@dataclass(slots=True)
class Work:
    """A round in the making.

    `moved` are the deployments that a mover decided about: they are not looked at in this round.
    """

    instant_us: int
    room: Room
    agenda: Agenda
    budget: int
    outcomes: list[ev.Outcome] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    looked_in_vain: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    in_vain: dict[Shape, int] = field(default_factory=dict)

    def add(self, outcome: ev.Outcome) -> None:
        """Write an outcome down and take from the budget what it costs."""
        self.outcomes.append(outcome)
        self.budget -= cost(outcome)


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
                if not isinstance(outcome, ev.NodeOffline):
                    work.moved.add(outcome.deployment_id)
            if work.budget <= 0:
                return


def shape_of(deployment: DeploymentFact) -> Shape:
    """Return what tells for which nodes a deployment's replicas are fit."""
    spec = deployment.spec
    return (spec.resources, spec.constraints, spec.gpu_model, spec.allow_colocation)


def cost(outcome: ev.Outcome) -> int:
    """Return how much of a round's limit an outcome takes, so that a round fits in a commit."""
    match outcome:
        case ev.DeploymentPlaced():
            names = sum(len(placement.starts_after) for placement in outcome.placements)
            return len(outcome.placements) + names // _NAMES_PER_REPLICA
        case ev.ReplicasReleased() | ev.ReplicasSuspended() | ev.ReplicasRestored():
            return max(len(outcome.replica_ids), 1)
        case _:
            return 1
