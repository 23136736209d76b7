"""Plans and explanations as JSON."""

from __future__ import annotations

from typing import Any

from fogbank.domain.explanations import (
    Candidate,
    DeploymentExplanation,
    DeploymentPlan,
    Explanation,
)
from fogbank.domain.views import AsOf
from services.gateway.http_api.rendering import instant


def plan(planned: AsOf[DeploymentPlan]) -> dict[str, Any]:
    """Return what a deployment would lead to."""
    value = planned.value
    content: dict[str, Any] = {"success": value.placeable}
    if value.placeable:
        content["scheduled"] = [_candidate(candidate) for candidate in value.scheduled]
        content["preempted"] = [
            {
                "deployment_id": each.deployment_id,
                "name": each.deployment_name or None,
                "replica_ids": list(each.replica_ids),
            }
            for each in value.preempted
        ]
    else:
        content["error"] = value.error
        content["available_nodes"] = value.available_nodes
    return content | {
        "explanation": _explanation(value.explanation),
        "as_of_sequence": planned.as_of_sequence,
    }


def deployment(deployment_id: str, told: AsOf[DeploymentExplanation]) -> dict[str, Any]:
    """Return why a deployment is where it is."""
    value = told.value
    return {
        "deployment_id": deployment_id,
        "summary": value.summary,
        "explanation": _explanation(value.explanation),
        "now": _explanation(value.now) if value.now is not None else None,
        "decided_at_sequence": value.decided_sequence or None,
        "rounds": [
            {
                "sequence": each.sequence,
                "decided_at": instant(each.instant_us),
                "slots": list(each.slots),
            }
            for each in value.rounds
        ],
        "as_of_sequence": told.as_of_sequence,
    }


def _explanation(value: Explanation) -> dict[str, Any]:
    return {
        "nodes_considered": value.nodes,
        "nodes_feasible": value.feasible,
        "filters": [
            {"filter": refusal.filter, "nodes": refusal.nodes, "reason": refusal.reason}
            for refusal in value.refusals
        ],
        "best": [_candidate(candidate) for candidate in value.best],
        "would_unblock": list(value.would_unblock),
    }


def _candidate(value: Candidate) -> dict[str, Any]:
    return {
        "node_id": value.node_id,
        "node": value.node_name,
        "score": value.score,
        "score_now": value.score_now,
        "terms": dict(value.terms),
    }
