"""What of the log is a user's business: commands on own deployments, and parts about those."""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import NOTHING
from services.gateway.core.touching import Kind, Touching


class OwnParts:
    """Tells what of each event is a user's business.

    Those are the user's deployments that the fleet knows, and the one or the replica whose record
    the user reads, which may be forgotten.
    """

    def __init__(self, fleet: FleetState, user_id: str, record_of: Touching | None = None) -> None:
        self._fleet = fleet
        self._user_id = user_id
        own = record_of is not None and record_of.kind in {Kind.DEPLOYMENT, Kind.REPLICA}
        self._record_of = record_of if own else None

    def of(self, event: ev.Event | None) -> ev.Event | None:
        """Return what of an event is the user's business; None if nothing is."""
        match event:
            case ev.DeploymentCreated():
                return event if event.owner_id == self._user_id else None
            case ev.DeploymentScaled() | ev.DeploymentUpdated() | ev.DeploymentDeleted():
                return event if self._owns(event.deployment_id) else None
            case ev.RoundDecided():
                outcomes = tuple(
                    part
                    for outcome in event.outcomes
                    if (part := self._of_outcome(outcome)) is not None
                )
                if not outcomes:
                    return None
                return replace(event, outcomes=outcomes, observations=(), raised=())
            case ev.NodeReported():
                seen = tuple(each for each in event.observations if self._owns_replica(each))
                return replace(event, observations=seen) if seen else None
        return None

    def _of_outcome(self, outcome: ev.Outcome) -> ev.Outcome | None:
        """Return what of an outcome is the user's: of others' the evictions of theirs."""
        if isinstance(outcome, ev.OF_THE_FLEET):
            return None
        if self._owns(outcome.deployment_id):
            return outcome
        if not isinstance(outcome, ev.DeploymentPlaced):
            return None
        evictions = tuple(each for each in outcome.evictions if self._owns(each.deployment_id))
        if not evictions:
            return None
        return ev.DeploymentPlaced(
            outcome.deployment_id, outcome.version, NOTHING, (), evictions=evictions
        )

    def _owns(self, deployment_id: str) -> bool:
        if self._record_of is not None and self._record_of.id == deployment_id:
            return True
        deployment = self._fleet.facts.deployments.get(deployment_id)
        return deployment is not None and deployment.owner_id == self._user_id

    def _owns_replica(self, seen: ReplicaObservation) -> bool:
        if self._record_of is not None and self._record_of.has(seen.replica_id):
            return True
        placed = self._fleet.decisions.placements.get(seen.replica_id)
        return placed is not None and self._owns(placed.deployment_id)
