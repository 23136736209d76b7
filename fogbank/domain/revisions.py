"""Revisions of a deployment: what its replicas were to be, time after time.

A revision is what a replica can't change while it runs: image, resources, environment, the cluster
whose quota it takes, and the like. A change of anything else (labels, priority, how many) makes no
new one.
"""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.events import DeploymentUpdated
from fogbank.domain.value import value

# So many of the newest revisions are kept, and of the older ones those that are needed.
KEPT_REVISIONS = 10


@value
class Revision:
    """What replicas are, from 1 up; `at_us` in log time, `position` that of its command."""

    number: int
    spec: DeploymentSpec
    env_key: str
    position: int
    at_us: int


def same_replicas(spec: DeploymentSpec, env_key: str, revision: Revision) -> bool:
    """Tell whether replicas of a spec would be just like those of a revision."""
    return env_key == revision.env_key and with_replicas_of(spec, revision.spec) == spec


def with_replicas_of(spec: DeploymentSpec, other: DeploymentSpec) -> DeploymentSpec:
    """Return a spec whose replicas are those of another; how many and all else stays."""
    return replace(
        spec,
        container_image=other.container_image,
        resources=other.resources,
        region=other.region,
        constraints=other.constraints,
        gpu_model=other.gpu_model,
        restart=other.restart,
        container=other.container,
        cluster_id=other.cluster_id,
    )


def next_revisions(
    kept: tuple[Revision, ...], update: DeploymentUpdated, position: int, at_us: int
) -> tuple[Revision, ...]:
    """Return the revisions after an update, the present one last.

    What is old is forgotten unless the update says that it is needed. Numbers are never used again.
    """
    present = kept[-1]
    if same_replicas(update.spec, update.env_key, present):
        return (*kept[:-1], replace(present, spec=update.spec))
    following = Revision(present.number + 1, update.spec, update.env_key, position, at_us)
    old, newest = kept[: 1 - KEPT_REVISIONS], kept[1 - KEPT_REVISIONS :]
    needed = (each for each in old if each.number in update.needed_revisions)
    return (*needed, *newest, following)
