"""Revisions of deployments, read a second time: what replicas are to be after updates."""

from __future__ import annotations

from fogbank.checker.world import COMPLETE, RUNNING, Deployment, Replica, World, amounts
from fogbank.v1 import deployments_pb2, facts_pb2, rounds_pb2

# What replicas can't change while they run.
_OF_REPLICAS = (
    *("container_image", "resources", "region", "constraints", "gpu_model", "restart"),
    "container",
)
# The newest revisions are kept, the present one among them; older ones if an update needs them.
_NEWEST = 10
_DEFAULT_SURGE = 1


def update(deployment: Deployment, event: facts_pb2.DeploymentUpdated) -> str:
    """Take an update in; return what is wrong with it, empty if nothing is."""
    forgotten: set[int] = set()
    if event.env_key != deployment.env_key or not _alike(event.spec, deployment.asked):
        deployment.earlier[deployment.revision] = deployment.asked
        deployment.kept.append(deployment.revision)
        deployment.revision += 1
        forgotten = {*deployment.kept[: 1 - _NEWEST]} - {*event.needed_revisions}
        deployment.kept = [number for number in deployment.kept if number not in forgotten]
    deployment.asked = event.spec
    deployment.env_key = event.env_key
    deployment.replicas = event.spec.replicas
    _settle(deployment)
    in_use = forgotten & _in_use(deployment)
    return f"revision {min(in_use)}, which a replica runs" if in_use else ""


def _in_use(deployment: Deployment) -> set[int]:
    replicas = (*deployment.slots.values(), *deployment.leaving.values())
    return {replica.revision for replica in replicas if not replica.ended}


def roll_back(deployment: Deployment, outcome: rounds_pb2.DeploymentRolledBack) -> str:
    """Go back to an earlier revision; return what is wrong with that, empty if nothing is."""
    if outcome.from_revision != deployment.revision:
        return f"from revision {outcome.from_revision}; it is at {deployment.revision}"
    if outcome.to_revision not in deployment.kept:
        known = "is no longer kept" if outcome.to_revision in deployment.earlier else "never was"
        return f"to revision {outcome.to_revision}, which {known}"
    deployment.bad, deployment.good = outcome.from_revision, outcome.to_revision
    _settle(deployment)
    return ""


def outdated(deployment: Deployment, revision: int) -> bool:
    """Tell whether replicas of a revision are others than those wanted now."""
    if revision == wanted(deployment):
        return False
    own = deployment.earlier.get(revision, deployment.asked)
    return not _alike(own, deployment.spec)


def surge_of(deployment: Deployment) -> int:
    """Return how many replicas more than wanted there may be while an update goes on."""
    rollout = deployment.spec.rollout
    return rollout.max_surge if rollout.HasField("max_surge") else _DEFAULT_SURGE


def may_go_first(world: World, deployment: Deployment, replica: Replica) -> bool:
    """Tell whether a leaving replica may stop before another one of its slot is placed.

    It is outdated, its successor is gone, one more would be too many, and it serves nobody or one
    more may be missing.
    """
    slot = replica.slot
    successor = deployment.slots.get(slot)
    if not outdated(deployment, replica.revision) or not (successor is None or successor.ended):
        return False
    still = sum(not other.ended for other in deployment.leaving.values())
    if still <= surge_of(deployment):
        return False
    own = deployment.earlier.get(replica.revision, deployment.asked)
    probed = own.container.HasField("probe") and replica.health != deployments_pb2.HEALTH_HEALTHY
    if probed or replica.health == deployments_pb2.HEALTH_UNHEALTHY or not runs(world, replica):
        return True
    least = deployment.replicas - deployment.spec.rollout.max_unavailable
    others = set(range(deployment.replicas)) - {slot}
    serving = sum(
        completed(deployment.slots.get(other))
        or runs(world, deployment.slots.get(other))
        or runs(world, deployment.leaving.get(other))
        for other in others
    )
    return serving >= least


def runs(world: World, replica: Replica | None) -> bool:
    """Tell whether a replica runs on a node that is heard."""
    if replica is None or replica.ended or replica.state != RUNNING:
        return False
    node = world.nodes.get(replica.node_id)
    return node is not None and not node.offline


def completed(replica: Replica | None) -> bool:
    """Tell whether a replica did what it was to do."""
    return replica is not None and replica.ended and replica.state == COMPLETE


def _alike(one: deployments_pb2.DeploymentSpec, other: deployments_pb2.DeploymentSpec) -> bool:
    """Tell whether replicas would be the same, the cluster whose quota they take included."""
    return (one.cluster_id or 1) == (other.cluster_id or 1) and all(
        getattr(one, name) == getattr(other, name) for name in _OF_REPLICAS
    )


def wanted(deployment: Deployment) -> int:
    """Return the revision that new replicas are of."""
    failed = deployment.bad == deployment.revision and deployment.good in deployment.kept
    return deployment.good if failed else deployment.revision


def _settle(deployment: Deployment) -> None:
    spec = deployments_pb2.DeploymentSpec()
    spec.CopyFrom(deployment.asked)
    number = wanted(deployment)
    if number != deployment.revision:
        other = deployment.earlier[number]
        for name in _OF_REPLICAS:
            spec.ClearField(name)  # type: ignore[arg-type]  # each of the names is a field's
        taken = deployments_pb2.DeploymentSpec(
            container_image=other.container_image,
            resources=other.resources,
            region=other.region,
            constraints=other.constraints,
            gpu_model=other.gpu_model,
            restart=other.restart,
            container=other.container if other.HasField("container") else None,
        )
        spec.MergeFrom(taken)
        spec.cluster_id = other.cluster_id
    deployment.spec = spec
    deployment.ask = amounts(spec.resources)
