"""ReplicaService: what users see and do within containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from fogbank.domain.errands import Brought
from fogbank.v1 import replica_service_pb2 as pb
from fogbank.v1 import replica_service_pb2_grpc as rpc
from services.gateway.app.errands import Errands
from services.gateway.app.principal import current_principal

Context = grpc.aio.ServicerContext[Any, Any]

_TAIL = 100


class ReplicaService(rpc.ReplicaServiceServicer):
    """Answers for containers. The caller is known (see `authentication`)."""

    def __init__(self, errands: Errands) -> None:
        self._errands = errands

    async def ReadLogs(
        self, request: pb.ReadLogsRequest, context: Context
    ) -> AsyncIterator[pb.ReadLogsResponse]:
        """Bring what a container wrote."""
        pieces = self._errands.logs(
            current_principal(),
            request.deployment_id,
            request.replica_id,
            tail=request.tail if request.HasField("tail") else _TAIL,
            follow=request.follow,
            slot=request.slot if request.HasField("slot") else None,
            previous=request.previous,
        )
        async with aclosing(pieces) as brought:
            async for piece in brought:
                yield pb.ReadLogsResponse(data=piece.data)

    async def Exec(
        self, request: pb.ExecRequest, context: Context
    ) -> AsyncIterator[pb.ExecResponse]:
        """Run a command in a container."""
        pieces = self._errands.execute(
            current_principal(),
            request.deployment_id,
            request.replica_id,
            tuple(request.command),
        )
        async with aclosing(pieces) as brought:
            async for piece in brought:
                yield _response(piece)


def _response(piece: Brought) -> pb.ExecResponse:
    if piece.exit_code is not None:
        return pb.ExecResponse(exit_code=piece.exit_code)
    if piece.is_error:
        return pb.ExecResponse(error_output=piece.data)
    return pb.ExecResponse(output=piece.data)
