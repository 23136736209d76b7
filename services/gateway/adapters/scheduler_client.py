"""The scheduler's answers over gRPC."""

from __future__ import annotations

import grpc.aio

from fogbank.v1 import scheduler_service_pb2 as pb
from fogbank.v1 import scheduler_service_pb2_grpc as rpc
from services.gateway.adapters.outages import as_outage
from services.gateway.app.ports import SchedulerStatus

_TIMEOUT_S = 2.0


class SchedulerClient:
    """Behaves as `app.ports.SchedulerQueries` says."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._stub = rpc.SchedulerServiceStub(channel)
        self._timeout_s = timeout_s

    async def status(self) -> SchedulerStatus:
        try:
            answer = await self._stub.GetSchedulerStatus(
                pb.GetSchedulerStatusRequest(), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise as_outage(error, "scheduler") from error
        return SchedulerStatus(
            answer.instance,
            answer.as_of_sequence,
            dict(answer.pending),
            answer.oldest_waiting_ms,
            answer.placed_total,
            answer.failed_total,
            answer.rounds_accepted,
            answer.rounds_void,
            answer.policy,
            answer.nodes_heard,
            answer.leader,
        )
