"""The fold rules of what rounds say of deployments and nodes, and that changes no replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogbank.domain import events as ev
from fogbank.domain.revisions import KEPT_REVISIONS

if TYPE_CHECKING:
    from fogbank.domain.decisions import Decisions, DeploymentDecision, PlacedReplica


def end_wait(decision: DeploymentDecision) -> None:
    """Let a deployment wait for no room any more."""
    decision.attempt = 0
    decision.not_before_us = 0
    decision.deferred = False


def deferred(
    decisions: Decisions, outcome: ev.DeploymentDeferred, event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    """Let a deployment wait for room."""
    decision = decisions.change(outcome.deployment_id)
    decision.attempt = outcome.attempt
    decision.not_before_us = outcome.not_before_us
    decision.deferred = True
    decision.looked_version = outcome.version
    decision.looked_facts_to = event.facts_to
    decision.reason = outcome.reason
    decision.considered = outcome.considered
    decision.decided_sequence = sequence
    return []


def failed(
    decisions: Decisions, outcome: ev.DeploymentFailed, _event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    """Let a deployment not be placed."""
    decision = decisions.change(outcome.deployment_id)
    end_wait(decision)
    decision.failed_version = outcome.version
    decision.available_nodes = outcome.available_nodes
    decision.reason = outcome.reason
    decision.considered = outcome.considered
    decision.decided_sequence = sequence
    decisions.failed_total += 1
    return []


def rolled_back(
    decisions: Decisions, outcome: ev.DeploymentRolledBack, _event: ev.RoundDecided, _sequence: int
) -> list[PlacedReplica]:
    """Let a deployment go back to an earlier revision."""
    decision = decisions.change(outcome.deployment_id)
    failed = (*decision.failed_revisions, outcome.from_revision)
    decision.failed_revisions = failed[-KEPT_REVISIONS:]
    decision.good_revision = outcome.to_revision
    decision.rollback_reason = outcome.reason
    end_wait(decision)
    return []


def rebalance_ended(
    decisions: Decisions, outcome: ev.RebalanceEnded, _event: ev.RoundDecided, _sequence: int
) -> list[PlacedReplica]:
    """Let a rebalance move nothing more."""
    decisions.rebalance = decisions.rebalance.ended_by(outcome.request, outcome.reason)
    return []


def node_offline(
    decisions: Decisions, outcome: ev.NodeOffline, _event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    """Take a node for silent."""
    decisions.offline[outcome.node_id] = outcome
    decisions.offline_sequences[outcome.node_id] = sequence
    return []
