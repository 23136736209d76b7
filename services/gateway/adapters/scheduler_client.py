"""The scheduler's answers over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import grpc.aio

from fogbank.codec.explanations import deployment_explanation_from_pb, plan_from_pb
from fogbank.codec.rebalances import rebalance_plan_from_pb, terms_to_pb
from fogbank.codec.values import spec_to_pb
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan
from fogbank.domain.rebalancing import RebalancePlan, RebalanceTerms
from fogbank.domain.views import AsOf
from fogbank.v1 import scheduler_service_pb2 as pb
from fogbank.v1 import scheduler_service_pb2_grpc as rpc
from services.gateway.adapters.outages import as_outage
from services.gateway.app.fair_turns import FairTurns
from services.gateway.app.ports import SchedulerStatus
from services.gateway.app.principal import asker_id

_TIMEOUT_S = 2.0
# Plans and explanations may wait until the scheduler has read what their caller knows.
_LONG_TIMEOUT_S = 10.0
# The scheduler tells one after the other, and decides meanwhile: it is asked for few at a time.
_TOLD_AT_ONCE = 2
_TOLD_WAITING = 64
_TURN_S = 10.0
_RETRY_MS = 1_000

A = TypeVar("A")


class SchedulerClient:
    """Behaves as `app.ports.SchedulerQueries` says."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._stub = rpc.SchedulerServiceStub(channel)
        self._timeout_s = timeout_s
        self._turns = FairTurns(
            "Too many plans and explanations at once",
            at_once=_TOLD_AT_ONCE,
            waiting=_TOLD_WAITING,
            reason="TOO_MANY_PLANS",
            retry_after_ms=_RETRY_MS,
        )

    async def status(self) -> SchedulerStatus:
        answer = await _answer(
            self._stub.GetSchedulerStatus(pb.GetSchedulerStatusRequest(), timeout=self._timeout_s)
        )
        return SchedulerStatus(
            answer.instance,
            answer.as_of_sequence,
            dict(answer.pending),
            answer.placed_total,
            answer.failed_total,
            answer.rounds_accepted,
            answer.rounds_void,
            answer.policy,
            answer.nodes_heard,
            answer.leader,
        )

    async def plan(self, spec: DeploymentSpec, min_sequence: int = 0) -> AsOf[DeploymentPlan]:
        request = pb.PlanRequest(spec=spec_to_pb(spec), min_sequence=min_sequence)
        async with self._turn():
            answer = await _answer(self._stub.Plan(request, timeout=_LONG_TIMEOUT_S))
        return plan_from_pb(answer.plan)

    async def plan_rebalance(
        self, terms: RebalanceTerms, min_sequence: int = 0
    ) -> AsOf[RebalancePlan]:
        request = pb.SchedulerServicePlanRebalanceRequest(
            terms=terms_to_pb(terms), min_sequence=min_sequence
        )
        async with self._turn():
            answer = await _answer(self._stub.PlanRebalance(request, timeout=_LONG_TIMEOUT_S))
        return rebalance_plan_from_pb(answer.plan)

    async def explain(
        self, deployment_id: str, min_sequence: int = 0
    ) -> AsOf[DeploymentExplanation]:
        request = pb.ExplainRequest(deployment_id=deployment_id, min_sequence=min_sequence)
        async with self._turn():
            answer = await _answer(self._stub.Explain(request, timeout=_LONG_TIMEOUT_S))
        return deployment_explanation_from_pb(answer.explanation)

    def _turn(self) -> AbstractAsyncContextManager[None]:
        """Have a turn at what takes the scheduler long; raises as `FairTurns.turn`."""
        return self._turns.turn(asker_id(), _TURN_S)


async def _answer(call: Awaitable[A]) -> A:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise as_outage(error, "scheduler") from error
