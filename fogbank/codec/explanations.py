"""Plans and explanations to the public API's messages and back."""

from __future__ import annotations

from fogbank.codec.views import timestamp_from_pb, timestamp_to_pb
from fogbank.domain.explanations import (
    Candidate,
    DeploymentExplanation,
    DeploymentPlan,
    Explanation,
    PlacingRound,
    PlannedEviction,
    Refusal,
)
from fogbank.domain.views import AsOf
from fogbank.v1 import deployment_service_pb2 as pb


def plan_to_pb(plan: AsOf[DeploymentPlan]) -> pb.PlanDeploymentResponse:
    """Return the message of a plan."""
    value = plan.value
    return pb.PlanDeploymentResponse(
        placeable=value.placeable,
        error=value.error,
        scheduled=[_candidate_to_pb(candidate) for candidate in value.scheduled],
        preempted_replica_ids=[
            replica_id for each in value.preempted for replica_id in each.replica_ids
        ],
        preempted=[
            pb.PlannedEviction(
                deployment_id=each.deployment_id,
                deployment_name=each.deployment_name,
                replica_ids=each.replica_ids,
            )
            for each in value.preempted
        ],
        explanation=_explanation_to_pb(value.explanation),
        as_of_sequence=plan.as_of_sequence,
        available_nodes=value.available_nodes,
    )


def plan_from_pb(message: pb.PlanDeploymentResponse) -> AsOf[DeploymentPlan]:
    """Return the plan that a message holds."""
    value = DeploymentPlan(
        message.error,
        message.available_nodes,
        tuple(_candidate_from_pb(candidate) for candidate in message.scheduled),
        tuple(
            PlannedEviction(each.deployment_id, tuple(each.replica_ids), each.deployment_name)
            for each in message.preempted
        ),
        _explanation_from_pb(message.explanation),
    )
    return AsOf(value, message.as_of_sequence)


def deployment_explanation_to_pb(
    told: AsOf[DeploymentExplanation],
) -> pb.ExplainDeploymentResponse:
    """Return the message of why a deployment is where it is."""
    value = told.value
    return pb.ExplainDeploymentResponse(
        summary=value.summary,
        explanation=_explanation_to_pb(value.explanation),
        decided_at_sequence=value.decided_sequence,
        as_of_sequence=told.as_of_sequence,
        now=_explanation_to_pb(value.now) if value.now is not None else None,
        rounds=[
            pb.PlacingRound(
                sequence=each.sequence,
                decided_at=timestamp_to_pb(each.instant_us),
                slots=each.slots,
            )
            for each in value.rounds
        ],
    )


def deployment_explanation_from_pb(
    message: pb.ExplainDeploymentResponse,
) -> AsOf[DeploymentExplanation]:
    """Return the explanation that a message holds."""
    value = DeploymentExplanation(
        message.summary,
        _explanation_from_pb(message.explanation),
        message.decided_at_sequence,
        _explanation_from_pb(message.now) if message.HasField("now") else None,
        tuple(
            PlacingRound(each.sequence, timestamp_from_pb(each.decided_at), tuple(each.slots))
            for each in message.rounds
        ),
    )
    return AsOf(value, message.as_of_sequence)


def _explanation_to_pb(value: Explanation) -> pb.Explanation:
    return pb.Explanation(
        nodes_considered=value.nodes,
        nodes_feasible=value.feasible,
        filters=[
            pb.FilterCount(filter=refusal.filter, nodes=refusal.nodes, reason=refusal.reason)
            for refusal in value.refusals
        ],
        best=[_candidate_to_pb(candidate) for candidate in value.best],
        would_unblock=value.would_unblock,
    )


def _explanation_from_pb(message: pb.Explanation) -> Explanation:
    return Explanation(
        message.nodes_considered,
        message.nodes_feasible,
        tuple(Refusal(each.filter, each.nodes, each.reason) for each in message.filters),
        tuple(_candidate_from_pb(candidate) for candidate in message.best),
        tuple(message.would_unblock),
    )


def _candidate_to_pb(value: Candidate) -> pb.Candidate:
    return pb.Candidate(
        node_id=value.node_id,
        node_name=value.node_name,
        score=value.score,
        score_now=value.score_now,
        terms=dict(value.terms),
    )


def _candidate_from_pb(message: pb.Candidate) -> Candidate:
    return Candidate(
        message.node_id,
        message.node_name,
        message.score,
        message.score_now,
        tuple(sorted(message.terms.items())),
    )
