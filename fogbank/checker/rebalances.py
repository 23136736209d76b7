"""Rebalances: which moves a request allows, and when one has come to its end."""

from __future__ import annotations

from fogbank.checker.world import RUNNING, Deployment, Rebalance, Wish, World
from fogbank.v1 import facts_pb2, rounds_pb2


def requested(world: World, event: facts_pb2.RebalanceRequested, position: int) -> bool:
    """Take a request in: from now on it is the one that counts."""
    world.rebalance = Rebalance(position, event.budget, event.min_gain, event.at_once)
    return True


def wrong_move(world: World, deployment: Deployment, outcome: rounds_pb2.DeploymentPlaced) -> str:
    """Take a move in, before it is carried out; return what is wrong with it, empty if nothing."""
    asked = world.rebalance
    if asked is None or asked.position != outcome.rebalance:
        return f"for a rebalance at {outcome.rebalance}, which is not the last one asked for"
    if asked.ended:
        return "although the rebalance had ended"
    if outcome.gain < asked.min_gain:
        return f"to gain {outcome.gain} points, fewer than {asked.min_gain}"
    for placement in outcome.placements:
        wrong = _wrong_replica(world, deployment, placement)
        if wrong:
            return wrong
        asked.moves += 1
        asked.moved.append(placement.replaces)
    if asked.moves > asked.budget:
        return f"as number {asked.moves} of at most {asked.budget} moves"
    # Those that this outcome lets go leave once it is carried out.
    under_way = len(outcome.placements) + sum(_leaves(world, known) for known in asked.moved)
    if under_way > asked.at_once:
        return f"as one of {under_way} at a time, of at most {asked.at_once}"
    return ""


def _wrong_replica(world: World, deployment: Deployment, placement: rounds_pb2.Placement) -> str:
    former = deployment.slots.get(placement.slot)
    if former is None or former.id != placement.replaces:
        return "without anybody who has its slot"
    if former.state != RUNNING or former.ended:
        return f"from {former.id}, which does not run"
    if placement.slot in deployment.leaving and not deployment.leaving[placement.slot].ended:
        return f"from {former.id}, which itself relieves another"
    node = world.nodes.get(former.node_id)
    if node is not None and node.offline:
        return f"from node {node.name}, which is offline"
    return "to the node where it is" if former.node_id == placement.node_id else ""


def _leaves(world: World, replica_id: str) -> bool:
    replica = world.replicas.get(replica_id)
    return replica is not None and replica.wish is Wish.LEAVING and not replica.ended


def ended(world: World, outcome: rounds_pb2.RebalanceEnded) -> str:
    """Take an end in; return what is wrong with it, empty if nothing."""
    asked = world.rebalance
    if asked is None or asked.position != outcome.request:
        return f"at {outcome.request} is not the last one asked for"
    if asked.ended:
        return f"at {outcome.request} had ended before"
    asked.ended = True
    return ""
