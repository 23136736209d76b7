"""SchedulerService over gRPC: messages to questions and back."""

from __future__ import annotations

import grpc.aio

from fogbank.codec.explanations import deployment_explanation_to_pb, plan_to_pb
from fogbank.codec.rebalances import rebalance_plan_to_pb, terms_from_pb
from fogbank.codec.values import spec_from_pb
from fogbank.domain.errors import InvalidArgumentError
from fogbank.v1 import scheduler_service_pb2 as pb
from fogbank.v1 import scheduler_service_pb2_grpc as pb_grpc
from services.scheduler.app import Scheduler

SERVICE_NAME = str(pb.DESCRIPTOR.services_by_name["SchedulerService"].full_name)


class SchedulerServicer(pb_grpc.SchedulerServiceServicer):
    """Answers from the scheduler's live state."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def GetSchedulerStatus(
        self,
        request: pb.GetSchedulerStatusRequest,
        context: grpc.aio.ServicerContext[
            pb.GetSchedulerStatusRequest, pb.GetSchedulerStatusResponse
        ],
    ) -> pb.GetSchedulerStatusResponse:
        status = self._scheduler.status()
        return pb.GetSchedulerStatusResponse(
            instance=status.instance,
            leader=status.leader,
            as_of_sequence=status.as_of_sequence,
            pending=status.pending,
            placed_total=status.placed_total,
            failed_total=status.failed_total,
            rounds_accepted=status.rounds_accepted,
            rounds_void=status.rounds_void,
            policy=status.policy,
            nodes_heard=status.nodes_heard,
        )

    async def Plan(
        self,
        request: pb.PlanRequest,
        context: grpc.aio.ServicerContext[pb.PlanRequest, pb.PlanResponse],
    ) -> pb.PlanResponse:
        try:
            spec = spec_from_pb(request.spec)
        except ValueError as error:
            raise InvalidArgumentError.of_field("spec", str(error)) from None
        plan = await self._scheduler.plan(spec, request.min_sequence)
        return pb.PlanResponse(plan=plan_to_pb(plan))

    async def PlanRebalance(
        self,
        request: pb.SchedulerServicePlanRebalanceRequest,
        context: grpc.aio.ServicerContext[
            pb.SchedulerServicePlanRebalanceRequest, pb.SchedulerServicePlanRebalanceResponse
        ],
    ) -> pb.SchedulerServicePlanRebalanceResponse:
        terms = terms_from_pb(request.terms)
        planned = await self._scheduler.plan_rebalance(terms, request.min_sequence)
        return pb.SchedulerServicePlanRebalanceResponse(plan=rebalance_plan_to_pb(planned))

    async def Explain(
        self,
        request: pb.ExplainRequest,
        context: grpc.aio.ServicerContext[pb.ExplainRequest, pb.ExplainResponse],
    ) -> pb.ExplainResponse:
        told = await self._scheduler.explain(request.deployment_id, request.min_sequence)
        return pb.ExplainResponse(explanation=deployment_explanation_to_pb(told))


def add_to_server(scheduler: Scheduler, server: grpc.aio.Server) -> None:
    """Register the service with a server."""
    pb_grpc.add_SchedulerServiceServicer_to_server(SchedulerServicer(scheduler), server)
