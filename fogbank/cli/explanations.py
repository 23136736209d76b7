"""Plans and explanations as plain values, with the names of the REST face."""

from typing import Any

from fogbank.cli.views import instant
from fogbank.v1 import deployment_service_pb2 as pb


def plan_content(answer: pb.PlanDeploymentResponse) -> dict[str, Any]:
    """Return what a deployment would lead to."""
    content: dict[str, Any] = {"success": answer.placeable}
    if answer.placeable:
        content["scheduled"] = [_candidate(candidate) for candidate in answer.scheduled]
        content["preempted"] = [
            {
                "deployment_id": each.deployment_id,
                "deployment": each.deployment_name or None,
                "replica_ids": list(each.replica_ids),
            }
            for each in answer.preempted
        ]
    else:
        content["error"] = answer.error
        content["available_nodes"] = answer.available_nodes
    return content | {
        "explanation": _explanation(answer.explanation),
        "as_of_sequence": answer.as_of_sequence,
    }


def explanation_content(answer: pb.ExplainDeploymentResponse) -> dict[str, Any]:
    """Return why a deployment is where it is."""
    return {
        "summary": answer.summary,
        "explanation": _explanation(answer.explanation),
        "now": _explanation(answer.now) if answer.HasField("now") else None,
        "decided_at_sequence": answer.decided_at_sequence or None,
        "rounds": [
            {
                "sequence": each.sequence,
                "decided_at": instant(each.decided_at),
                "slots": list(each.slots),
            }
            for each in answer.rounds
        ],
        "as_of_sequence": answer.as_of_sequence,
    }


def _explanation(message: pb.Explanation) -> dict[str, Any]:
    return {
        "nodes_considered": message.nodes_considered,
        "nodes_feasible": message.nodes_feasible,
        "filters": [
            {"filter": each.filter, "nodes": each.nodes, "reason": each.reason}
            for each in message.filters
        ],
        "best": [_candidate(candidate) for candidate in message.best],
        "would_unblock": list(message.would_unblock),
    }


def _candidate(message: pb.Candidate) -> dict[str, Any]:
    return {
        "node_id": message.node_id,
        "node": message.node_name,
        "score": message.score,
        "score_now": message.score_now,
        "terms": dict(sorted(message.terms.items())),
    }
