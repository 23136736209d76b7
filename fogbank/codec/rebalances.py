"""Rebalances to messages and back: the request in the log, plans and states."""

from __future__ import annotations

from fogbank.codec.views import timestamp_to_pb
from fogbank.domain import events as ev
from fogbank.domain.rebalancing import (
    PlannedMove,
    RebalancePlan,
    RebalanceTerms,
    RebalanceView,
)
from fogbank.domain.views import AsOf
from fogbank.v1 import facts_pb2
from fogbank.v1 import node_service_pb2 as pb


def rebalance_requested_to_pb(event: ev.RebalanceRequested) -> facts_pb2.RebalanceRequested:
    """Return the event's message."""
    return facts_pb2.RebalanceRequested(
        budget=event.budget, min_gain=event.min_gain, at_once=event.at_once
    )


def rebalance_requested_from_pb(message: facts_pb2.RebalanceRequested) -> ev.RebalanceRequested:
    """Return the message's event."""
    return ev.RebalanceRequested(message.budget, message.min_gain, message.at_once)


def terms_to_pb(terms: RebalanceTerms) -> pb.RebalanceTerms:
    """Return the message of terms."""
    return pb.RebalanceTerms(budget=terms.budget, min_gain=terms.min_gain, at_once=terms.at_once)


def terms_from_pb(message: pb.RebalanceTerms) -> RebalanceTerms:
    """Return the terms of a message that has all of them."""
    return RebalanceTerms(message.budget, message.min_gain, message.at_once)


def rebalance_plan_to_pb(planned: AsOf[RebalancePlan]) -> pb.PlanRebalanceResponse:
    """Return the message of a plan."""
    plan = planned.value
    return pb.PlanRebalanceResponse(
        moves=[_move_to_pb(move) for move in plan.moves],
        replicas=plan.replicas,
        worth_before=plan.worth_before,
        worth_after=plan.worth_after,
        complete=plan.complete,
        as_of_sequence=planned.as_of_sequence,
    )


def rebalance_plan_from_pb(message: pb.PlanRebalanceResponse) -> AsOf[RebalancePlan]:
    """Return the plan that a message holds."""
    plan = RebalancePlan(
        tuple(_move_from_pb(move) for move in message.moves),
        message.replicas,
        message.worth_before,
        message.worth_after,
        message.complete,
    )
    return AsOf(plan, message.as_of_sequence)


def _move_to_pb(move: PlannedMove) -> pb.RebalanceMove:
    return pb.RebalanceMove(
        deployment_id=move.deployment_id,
        deployment_name=move.deployment_name,
        slot=move.slot,
        replica_id=move.replica_id,
        from_node_id=move.from_node_id,
        from_node_name=move.from_node_name,
        to_node_id=move.to_node_id,
        to_node_name=move.to_node_name,
        score_before=move.score_before,
        score_after=move.score_after,
        gain=move.gain,
    )


def _move_from_pb(message: pb.RebalanceMove) -> PlannedMove:
    return PlannedMove(
        message.deployment_id,
        message.deployment_name,
        message.slot,
        message.replica_id,
        message.from_node_id,
        message.from_node_name,
        message.to_node_id,
        message.to_node_name,
        message.score_before,
        message.score_after,
        message.gain,
    )


def rebalance_to_pb(view: RebalanceView) -> pb.Rebalance:
    """Return the message of how far a rebalance is."""
    return pb.Rebalance(
        phase=pb.RebalancePhase.ValueType(view.phase),
        terms=terms_to_pb(view.terms),
        requested_at=timestamp_to_pb(view.requested_at_us),
        moved=view.moved,
        moving=view.moving,
        gained=view.gained,
        message=view.message,
        as_of_sequence=view.as_of_sequence,
    )
