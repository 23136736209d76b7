"""Rounds to messages and back."""

from __future__ import annotations

from fogbank.codec.errors import CodecError
from fogbank.codec.values import resources_from_pb, resources_to_pb
from fogbank.domain import events as ev
from fogbank.v1 import rounds_pb2 as pb


def round_decided_to_pb(event: ev.RoundDecided) -> pb.RoundDecided:
    """Return the event's message."""
    return pb.RoundDecided(
        prev_digest=event.prev_digest,
        facts_to=event.facts_to,
        instant_us=event.instant_us,
        policy=event.policy,
        policy_digest=event.policy_digest,
        engine=event.engine,
        limit=event.limit,
        observations=[
            pb.NodeSilence(
                node_id=seen.node_id, epoch=seen.epoch, last_heard_at_us=seen.last_heard_at_us
            )
            for seen in event.observations
        ],
        outcomes=[_outcome_to_pb(outcome) for outcome in event.outcomes],
        raised=event.raised,
        state_digest=event.state_digest,
    )


def round_decided_from_pb(message: pb.RoundDecided) -> ev.RoundDecided:
    """Return the message's event. CodecError for an outcome that is none."""
    return ev.RoundDecided(
        message.prev_digest,
        message.facts_to,
        message.instant_us,
        message.policy,
        message.policy_digest,
        message.engine,
        message.limit,
        tuple(
            ev.NodeSilence(seen.node_id, seen.epoch, seen.last_heard_at_us)
            for seen in message.observations
        ),
        tuple(_outcome_from_pb(outcome) for outcome in message.outcomes),
        tuple(message.raised),
        message.state_digest,
    )


def _considered_to_pb(considered: ev.Considered) -> pb.Considered:
    return pb.Considered(
        nodes=considered.nodes,
        feasible=considered.feasible,
        refusals=[
            pb.FilterRefusals(filter=name, nodes=count) for name, count in considered.refusals
        ],
        best=[pb.ScoredNode(node_id=node, score=score) for node, score in considered.best],
    )


def _considered_from_pb(message: pb.Considered) -> ev.Considered:
    return ev.Considered(
        message.nodes,
        message.feasible,
        tuple((refusal.filter, refusal.nodes) for refusal in message.refusals),
        tuple((scored.node_id, scored.score) for scored in message.best),
    )


def _outcome_to_pb(outcome: ev.Outcome) -> pb.Outcome:
    match outcome:
        case ev.DeploymentPlaced():
            return pb.Outcome(placed=_placed_to_pb(outcome))
        case ev.DeploymentDeferred():
            return pb.Outcome(
                deferred=pb.DeploymentDeferred(
                    deployment_id=outcome.deployment_id,
                    version=outcome.version,
                    attempt=outcome.attempt,
                    not_before_us=outcome.not_before_us,
                    reason=outcome.reason,
                    considered=_considered_to_pb(outcome.considered),
                )
            )
        case ev.DeploymentFailed():
            return pb.Outcome(
                failed=pb.DeploymentFailed(
                    deployment_id=outcome.deployment_id,
                    version=outcome.version,
                    reason=outcome.reason,
                    available_nodes=outcome.available_nodes,
                    considered=_considered_to_pb(outcome.considered),
                )
            )
        case ev.ReplicasReleased():
            return pb.Outcome(
                released=pb.ReplicasReleased(
                    deployment_id=outcome.deployment_id,
                    replica_ids=outcome.replica_ids,
                    reason=outcome.reason,
                )
            )
        case ev.ReplicasSuspended():
            return pb.Outcome(
                suspended=pb.ReplicasSuspended(
                    deployment_id=outcome.deployment_id,
                    replica_ids=outcome.replica_ids,
                    node_id=outcome.node_id,
                )
            )
        case ev.ReplicasRestored():
            return pb.Outcome(
                restored=pb.ReplicasRestored(
                    deployment_id=outcome.deployment_id, replica_ids=outcome.replica_ids
                )
            )
        case ev.DeploymentRolledBack():
            return pb.Outcome(rolled_back=_rolled_back_to_pb(outcome))
        case ev.NodeOffline():
            return pb.Outcome(
                offline=pb.NodeOffline(
                    node_id=outcome.node_id,
                    epoch=outcome.epoch,
                    last_heard_at_us=outcome.last_heard_at_us,
                )
            )


def _rolled_back_to_pb(outcome: ev.DeploymentRolledBack) -> pb.DeploymentRolledBack:
    return pb.DeploymentRolledBack(
        deployment_id=outcome.deployment_id,
        version=outcome.version,
        from_revision=outcome.from_revision,
        to_revision=outcome.to_revision,
        reason=outcome.reason,
    )


def _placed_to_pb(outcome: ev.DeploymentPlaced) -> pb.DeploymentPlaced:
    return pb.DeploymentPlaced(
        deployment_id=outcome.deployment_id,
        version=outcome.version,
        resources=resources_to_pb(outcome.resources),
        placements=[
            pb.Placement(
                replica_id=placement.replica_id,
                slot=placement.slot,
                generation=placement.generation,
                node_id=placement.node_id,
                score=placement.score,
                starts_after=placement.starts_after,
                replaces=placement.replaces,
                gpu_devices=placement.gpu_devices,
            )
            for placement in outcome.placements
        ],
        considered=_considered_to_pb(outcome.considered),
        revision=outcome.revision if outcome.revision > 1 else 0,
        evictions=[
            pb.Eviction(deployment_id=eviction.deployment_id, replica_ids=eviction.replica_ids)
            for eviction in outcome.evictions
        ],
    )


def _placed_from_pb(message: pb.DeploymentPlaced) -> ev.DeploymentPlaced:
    return ev.DeploymentPlaced(
        message.deployment_id,
        message.version,
        resources_from_pb(message.resources),
        tuple(
            ev.Placement(
                placement.replica_id,
                placement.slot,
                placement.generation,
                placement.node_id,
                placement.score,
                tuple(placement.starts_after),
                placement.replaces,
                tuple(placement.gpu_devices),
            )
            for placement in message.placements
        ),
        _considered_from_pb(message.considered),
        message.revision or 1,
        tuple(
            ev.Eviction(eviction.deployment_id, tuple(eviction.replica_ids))
            for eviction in message.evictions
        ),
    )


def _outcome_from_pb(message: pb.Outcome) -> ev.Outcome:
    kind = message.WhichOneof("outcome")
    if kind == "placed":
        return _placed_from_pb(message.placed)
    if kind == "deferred":
        deferred = message.deferred
        return ev.DeploymentDeferred(
            deferred.deployment_id,
            deferred.version,
            deferred.attempt,
            deferred.not_before_us,
            deferred.reason,
            _considered_from_pb(deferred.considered),
        )
    if kind == "failed":
        failed = message.failed
        return ev.DeploymentFailed(
            failed.deployment_id,
            failed.version,
            failed.reason,
            failed.available_nodes,
            _considered_from_pb(failed.considered),
        )
    return _movement_from_pb(message, kind)


def _movement_from_pb(message: pb.Outcome, kind: str | None) -> ev.Outcome:
    if kind == "released":
        released = message.released
        return ev.ReplicasReleased(
            released.deployment_id, tuple(released.replica_ids), released.reason
        )
    if kind == "suspended":
        suspended = message.suspended
        return ev.ReplicasSuspended(
            suspended.deployment_id, tuple(suspended.replica_ids), suspended.node_id
        )
    if kind == "restored":
        restored = message.restored
        return ev.ReplicasRestored(restored.deployment_id, tuple(restored.replica_ids))
    if kind == "rolled_back":
        back = message.rolled_back
        return ev.DeploymentRolledBack(
            back.deployment_id, back.version, back.from_revision, back.to_revision, back.reason
        )
    if kind == "offline":
        offline = message.offline
        return ev.NodeOffline(offline.node_id, offline.epoch, offline.last_heard_at_us)
    text = "a round holds an outcome of a kind that this release does not know"
    raise CodecError(text)
