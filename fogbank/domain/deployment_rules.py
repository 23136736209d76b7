"""The fold rules of commands on deployments that are there: scale, update, delete.

A command on another version than it expects is void, and one on a deployment that was deleted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.revisions import next_revisions
from fogbank.domain.verdict import VoidReason

if TYPE_CHECKING:
    from fogbank.domain.facts import Facts


def _void_command(facts: Facts, envelope: EventEnvelope, deployment_id: str) -> VoidReason | None:
    deployment = facts.deployments.get(deployment_id)
    if deployment is None:
        return VoidReason.UNKNOWN_DEPLOYMENT
    if deployment.deleted:
        return VoidReason.DELETED
    expected = envelope.command.expected_version if envelope.command else 0
    if expected and expected != deployment.version:
        return VoidReason.STALE_VERSION
    return None


def deployment_scaled(
    facts: Facts, envelope: EventEnvelope, event: ev.DeploymentScaled, position: int
) -> VoidReason | None:
    """Change how many replicas it wants."""
    void = _void_command(facts, envelope, event.deployment_id)
    if void is None:
        deployment = facts.deployments.change(event.deployment_id)
        deployment.spec = replace(deployment.spec, replicas=event.replicas)
        deployment.version = position
    return void


def deployment_updated(
    facts: Facts, envelope: EventEnvelope, event: ev.DeploymentUpdated, position: int
) -> VoidReason | None:
    """Change what it is; with another image and the like its replicas are replaced."""
    void = _void_command(facts, envelope, event.deployment_id)
    if void is None:
        deployment = facts.deployments.change(event.deployment_id)
        before, cluster_id = deployment.spec.cluster_id, event.spec.cluster_id
        if cluster_id != before and cluster_id not in facts.clusters:
            return VoidReason.UNKNOWN_CLUSTER
        deployment.updates = next_revisions(
            deployment.revisions, event, position, facts.log_time_us
        )
        if cluster_id != before:
            moves = deployment.clusters or ((1, before),)
            deployment.clusters = (*moves, (deployment.revision, cluster_id))
        deployment.spec = event.spec
        deployment.env_key = event.env_key
        deployment.version = position
    return void


def deployment_deleted(
    facts: Facts, envelope: EventEnvelope, event: ev.DeploymentDeleted, position: int
) -> VoidReason | None:
    """Let it be deleted, for good."""
    void = _void_command(facts, envelope, event.deployment_id)
    if void is None:
        deployment = facts.deployments.change(event.deployment_id)
        deployment.deleted_at_us = facts.log_time_us
        deployment.version = position
    return void
