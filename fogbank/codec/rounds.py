"""Rounds to messages and back."""

from __future__ import annotations

from typing import Any

from fogbank.codec.errors import CodecError
from fogbank.codec.values import fill_resources, resources_from_pb
from fogbank.domain import events as ev
from fogbank.domain.ids import the_node_id
from fogbank.v1 import rounds_pb2 as pb


def round_decided_to_pb(event: ev.RoundDecided) -> pb.RoundDecided:
    """Return the event's message."""
    message = pb.RoundDecided(
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
        raised=event.raised,
        state_digest=event.state_digest,
    )
    for outcome in event.outcomes:
        match outcome:
            case ev.DeploymentPlaced():
                _fill_placed(message.outcomes.add().placed, outcome)
            case ev.DeploymentDeferred():
                _fill_deferred(message.outcomes.add().deferred, outcome)
            case ev.DeploymentFailed():
                _fill_failed(message.outcomes.add().failed, outcome)
            case _:
                message.outcomes.add(**_movement_fields(outcome))
    return message


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


# A message that is put into another is copied, which costs more than all the rest: it is filled in
# its place, or given by its fields.
_Fields = dict[str, Any]


def _considered_from_pb(message: pb.Considered) -> ev.Considered:
    refusals = message.refusals
    return ev.Considered(
        message.nodes,
        message.feasible,
        tuple([(refusal.filter, refusal.nodes) for refusal in refusals]) if refusals else (),
        tuple([(the_node_id(scored.node_id), scored.score) for scored in message.best]),
    )


def _fill_deferred(message: pb.DeploymentDeferred, outcome: ev.DeploymentDeferred) -> None:
    message.deployment_id = outcome.deployment_id
    message.version = outcome.version
    message.attempt = outcome.attempt
    message.not_before_us = outcome.not_before_us
    message.reason = outcome.reason
    _fill_considered(message.considered, outcome.considered)


def _fill_failed(message: pb.DeploymentFailed, outcome: ev.DeploymentFailed) -> None:
    message.deployment_id = outcome.deployment_id
    message.version = outcome.version
    message.reason = outcome.reason
    message.available_nodes = outcome.available_nodes
    _fill_considered(message.considered, outcome.considered)


def _movement_fields(
    outcome: ev.ReplicasReleased
    | ev.ReplicasSuspended
    | ev.ReplicasRestored
    | ev.DeploymentRolledBack
    | ev.RebalanceEnded
    | ev.NodeOffline,
) -> _Fields:
    match outcome:
        case ev.ReplicasReleased():
            return {
                "released": {
                    "deployment_id": outcome.deployment_id,
                    "replica_ids": outcome.replica_ids,
                    "reason": outcome.reason,
                }
            }
        case ev.ReplicasSuspended():
            return {
                "suspended": {
                    "deployment_id": outcome.deployment_id,
                    "replica_ids": outcome.replica_ids,
                    "node_id": outcome.node_id,
                }
            }
        case ev.ReplicasRestored():
            return {
                "restored": {
                    "deployment_id": outcome.deployment_id,
                    "replica_ids": outcome.replica_ids,
                }
            }
        case ev.DeploymentRolledBack():
            return {
                "rolled_back": {
                    "deployment_id": outcome.deployment_id,
                    "version": outcome.version,
                    "from_revision": outcome.from_revision,
                    "to_revision": outcome.to_revision,
                    "reason": outcome.reason,
                }
            }
        case ev.RebalanceEnded():
            return {"rebalance_ended": {"request": outcome.request, "reason": outcome.reason}}
        case ev.NodeOffline():
            return {
                "offline": {
                    "node_id": outcome.node_id,
                    "epoch": outcome.epoch,
                    "last_heard_at_us": outcome.last_heard_at_us,
                }
            }


def _fill_placed(message: pb.DeploymentPlaced, outcome: ev.DeploymentPlaced) -> None:
    """Fill the message of what rounds decide mostly, so field by field: that takes half the time.

    What is added to a repeated field is filled likewise: giving its fields by name costs a third
    more.
    """
    message.deployment_id = outcome.deployment_id
    message.version = outcome.version
    fill_resources(message.resources, outcome.resources)
    add_placement = message.placements.add
    for replica_id, slot, generation, node_id, score, after, former, devices in outcome.placements:
        added = add_placement()
        added.replica_id = replica_id
        added.slot = slot
        added.generation = generation
        added.node_id = node_id
        added.score = score
        if after:
            added.starts_after.extend(after)
        if former:
            added.replaces = former
        if devices:
            added.gpu_devices.extend(devices)
    _fill_considered(message.considered, outcome.considered)
    message.revision = outcome.revision if outcome.revision > 1 else 0
    for eviction in outcome.evictions:
        message.evictions.add(
            deployment_id=eviction.deployment_id, replica_ids=eviction.replica_ids
        )
    message.rebalance = outcome.rebalance
    message.gain = outcome.gain


def _fill_considered(message: pb.Considered, considered: ev.Considered) -> None:
    message.SetInParent()
    message.nodes = considered.nodes
    message.feasible = considered.feasible
    for name, nodes in considered.refusals:
        message.refusals.add(filter=name, nodes=nodes)
    add_scored = message.best.add
    for node_id, score in considered.best:
        scored = add_scored()
        scored.node_id = node_id
        scored.score = score


def _placed_from_pb(message: pb.DeploymentPlaced) -> ev.DeploymentPlaced:
    # Here and below: a look at an empty repeated field costs a fourth of a tuple of it.
    evictions = message.evictions
    return ev.DeploymentPlaced(
        message.deployment_id,
        message.version,
        resources_from_pb(message.resources),
        tuple([_placement_from_pb(placement) for placement in message.placements]),
        _considered_from_pb(message.considered),
        message.revision or 1,
        tuple(
            [
                ev.Eviction(eviction.deployment_id, tuple(eviction.replica_ids))
                for eviction in evictions
            ]
        )
        if evictions
        else (),
        message.rebalance,
        message.gain,
    )


def _placement_from_pb(message: pb.Placement) -> ev.Placement:
    starts_after, gpu_devices = message.starts_after, message.gpu_devices
    placement = (
        message.replica_id,
        message.slot,
        message.generation,
        the_node_id(message.node_id),
        message.score,
        tuple(starts_after) if starts_after else (),
        message.replaces,
        tuple(gpu_devices) if gpu_devices else (),
    )
    return tuple.__new__(ev.Placement, placement)  # half the time of its own way


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
    if kind == "rebalance_ended":
        ended = message.rebalance_ended
        return ev.RebalanceEnded(ended.request, ended.reason)
    if kind == "offline":
        offline = message.offline
        return ev.NodeOffline(offline.node_id, offline.epoch, offline.last_heard_at_us)
    text = "a round holds an outcome of a kind that this release does not know"
    raise CodecError(text)
