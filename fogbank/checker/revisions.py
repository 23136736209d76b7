"""Revisions of deployments, read a second time: what replicas are to be after updates."""

from __future__ import annotations

from fogbank.checker.world import Deployment, amounts
from fogbank.v1 import deployments_pb2, facts_pb2, rounds_pb2

# What replicas can't change while they run.
_OF_REPLICAS = (
    *("container_image", "resources", "region", "constraints", "gpu_model", "restart"),
    "container",
)
# The newest revisions are kept, the present one among them; older ones if an update needs them.
_NEWEST = 10


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
