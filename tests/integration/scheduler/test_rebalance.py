"""A rebalance all the way: asked for at a gateway, planned and carried out by a scheduler."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import deployment_service_pb2, node_service_pb2
from tests.integration.scheduler.test_planning import Whole, whole
from tests.support.fleet_log import a_spec
from tests.support.gateway import refusal, signed_in
from tests.support.waiting import eventually

__all__ = ["whole"]

ADMIN = signed_in("admin")
PB = node_service_pb2


async def call(whole: Whole, method: str, user: Any = ADMIN, **fields: Any) -> Any:
    request = getattr(PB, f"{method}Request")(**fields)
    return await getattr(whole.world.node_service, method)(request, metadata=user, timeout=20)


async def lopsided(whole: Whole) -> list[str]:
    """Let four replicas run on one node, and another node join."""
    await whole.add_nodes("old")
    service = whole.world.deployment_service
    made = []
    for number in range(4):
        answer = await service.CreateDeployment(
            deployment_service_pb2.CreateDeploymentRequest(
                spec=spec_to_pb(a_spec(f"web-{number}", cpu=500)),
                wait_for=deployment_service_pb2.WAIT_FOR_SCHEDULED,
            ),
            metadata=ADMIN,
            timeout=20,
        )
        made.append(answer.deployment.id)
    await whole.obey()
    await whole.add_nodes("new")
    return made


async def test_planned_applied_and_carried_out(whole: Whole) -> None:
    await lopsided(whole)
    plan = await call(whole, "PlanRebalance")
    assert plan.moves
    assert plan.complete
    assert {(move.from_node_name, move.to_node_name) for move in plan.moves} == {("old", "new")}
    assert plan.worth_after == plan.worth_before + sum(move.gain for move in plan.moves)
    position = whole.world.fold.position
    terms = PB.RebalanceTerms(min_gain=1)
    checked = await call(whole, "ApplyRebalance", terms=terms, validate_only=True)
    assert checked.rebalance.phase == PB.REBALANCE_PHASE_NONE
    assert whole.world.fold.position == position
    applied = await call(whole, "ApplyRebalance", terms=terms, request_id="one")
    assert applied.rebalance.phase == PB.REBALANCE_PHASE_MOVING
    assert (applied.rebalance.terms.budget, applied.rebalance.terms.at_once) == (100, 10)

    async def over() -> bool:
        await whole.obey()
        state = (await call(whole, "GetRebalance")).rebalance
        return bool(state.phase == PB.REBALANCE_PHASE_ENDED and not state.moving)

    await eventually(over)
    state = (await call(whole, "GetRebalance")).rebalance
    assert state.moved == len(plan.moves)
    assert state.gained == plan.worth_after - plan.worth_before
    assert not (await call(whole, "PlanRebalance")).moves
    again = await call(whole, "ApplyRebalance", terms=terms, request_id="one")
    assert again.rebalance.phase == PB.REBALANCE_PHASE_ENDED, "a repeat asks for nothing anew"
    other = PB.RebalanceTerms(min_gain=2)
    clash = await refusal(call(whole, "ApplyRebalance", terms=other, request_id="one"))
    assert clash.code() is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize("method", ["PlanRebalance", "ApplyRebalance", "GetRebalance"])
async def test_only_administrators_may(whole: Whole, method: str) -> None:
    error = await refusal(call(whole, method, user=signed_in("alice")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", ["PlanRebalance", "ApplyRebalance"])
async def test_terms_out_of_their_bounds_are_named(whole: Whole, method: str) -> None:
    terms = PB.RebalanceTerms(budget=-1, min_gain=1001, at_once=5000)
    error = await refusal(call(whole, method, terms=terms))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == (
        "terms.budget must be between 0 and 10000, got -1; "
        "terms.min_gain must be between 1 and 1000, got 1001; "
        "terms.at_once must be between 1 and 1000, got 5000"
    )
