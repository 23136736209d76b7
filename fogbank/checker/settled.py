"""How everything ended up, and whether it came to rest as it should."""

from __future__ import annotations

from collections.abc import Iterable

from fogbank.checker.acknowledged import Acknowledged
from fogbank.checker.eligibility import places_for
from fogbank.checker.quotas import quota_lacks
from fogbank.checker.report import Findings, Place, Rule
from fogbank.checker.revisions import completed, outdated, runs, surge_of
from fogbank.checker.world import STATE_NAMES, Deployment, Replica, Wish, World


def final_state(world: World, deployment: Deployment) -> str:
    """Return where a deployment stands: deleted, failed, pending, completed, running, partial."""
    if deployment.deleted:
        return "deleted"
    if deployment.failed:
        return "failed"
    wanted = range(deployment.replicas)
    done = [slot for slot in wanted if completed(deployment.slots.get(slot))]
    running = [slot for slot in wanted if runs(world, deployment.slots.get(slot))]
    if wanted and len(done) == len(wanted):
        return "completed"
    if len(done) + len(running) == len(wanted):
        return "running"
    return "partial" if done or running else "pending"


def check_settled(
    world: World, findings: Findings, place: Place, acknowledged: Iterable[Acknowledged]
) -> None:
    """Find what did not come to rest: replicas missing, too many, or not gone."""
    for deployment in world.deployments.values():
        if not deployment.deleted and not deployment.failed:
            _check_running(world, findings, place, deployment)
            _check_rolled_out(world, findings, place, deployment)
    for node in world.nodes.values():
        if node.offline or node.removed:
            continue
        for replica in node.replicas.values():
            if stays := _why_unwanted(world, replica):
                findings.add(
                    place,
                    Rule.STILL_THERE,
                    f"replica {replica.id} {stays} and has not ended on node {node.name}",
                )
    # The last word on each deployment counts.
    ends = {promise.deployment_id: promise.end for promise in acknowledged}
    for deployment_id, end in ends.items():
        known = world.deployments.get(deployment_id)
        state = "unknown" if known is None else final_state(world, known)
        if end and state != end:
            findings.add(
                place, Rule.WRONG_END, f"deployment {deployment_id} is {state}, was to be {end}"
            )


def _why_unwanted(world: World, replica: Replica) -> str:
    deployment = world.deployments[replica.deployment_id]
    if replica.wish is Wish.RELEASED:
        return "was released"
    if deployment.deleted:
        return "belongs to a deleted deployment"
    if replica.wish is Wish.SUSPENDED:
        return "is suspended although its node is back"
    if replica.slot >= deployment.replicas:
        return "is one too many"
    successor = deployment.slots.get(replica.slot)
    if replica.wish is Wish.LEAVING and successor is not None and not successor.ended:
        return "was to leave when its successor runs"
    node = world.nodes[replica.node_id]
    if node.draining and not deployment.failed and places_for(world, deployment, 1):
        return "is on a node to be drained, although there is room elsewhere,"
    return "" if successor in {replica, None} or replica.wish is Wish.LEAVING else "shares its slot"


def _waits_for_node(deployment: Deployment) -> bool:
    """Tell whether replicas on a silent node are not to be replaced, however long it is silent."""
    rules = deployment.asked.disconnect
    return rules.HasField("replace") and not rules.replace


def _check_running(world: World, findings: Findings, place: Place, deployment: Deployment) -> None:
    vacant = 0
    for slot in range(deployment.replicas):
        replica = deployment.slots.get(slot)
        if completed(replica) or runs(world, replica):
            continue
        node = None if replica is None else world.nodes.get(replica.node_id)
        if replica is None or replica.ended or node is None or node.offline:
            vacant += replica is None or replica.ended or not _waits_for_node(deployment)
            continue
        state = STATE_NAMES[replica.state] if replica.state else "not reported"
        findings.add(
            place,
            Rule.NOT_RUNNING,
            f"slot {slot} of deployment {deployment.id} is {state} on node {node.name}",
        )
    if quota_lacks(world, deployment, vacant):
        return
    if vacant and places_for(world, deployment, vacant) >= vacant:
        findings.add(
            place,
            Rule.NOT_RUNNING,
            f"deployment {deployment.id} lacks {vacant} of {deployment.replicas} replicas although "
            "there is room for them",
        )


def _check_rolled_out(
    world: World, findings: Findings, place: Place, deployment: Deployment
) -> None:
    """Find replicas that an update should have replaced, or a rollback.

    They may stay where there is no room for one more, and none may go before its successor runs.
    """
    slots = [deployment.slots.get(slot) for slot in range(deployment.replicas)]
    old = [
        replica
        for replica in slots
        if replica is not None and not completed(replica) and outdated(deployment, replica.revision)
    ]
    surge = surge_of(deployment)
    lacks = quota_lacks(world, deployment, 1)
    room = surge > 0 and places_for(world, deployment, 1) > 0 and not lacks
    # Who moves to another cluster has nothing there to let go of.
    moves = any(deployment.cluster_of(each.revision) != deployment.cluster_id for each in old)
    spare = (
        deployment.spec.rollout.max_unavailable > 0
        and all(runs(world, replica) for replica in slots)
        and not (lacks and moves)
    )
    if old and (room or spare):
        findings.add(
            place,
            Rule.OUTDATED,
            f"slot {old[0].slot} of deployment {deployment.id} has revision {old[0].revision} "
            "although there is room for another one",
        )
