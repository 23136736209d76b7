"""Stands for the ledger where only its copy's highest commit is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as pb_grpc


class StubLedger(pb_grpc.LedgerQueryServiceServicer):
    """Tells what the test wants; `answers = False` makes it fail."""

    def __init__(self) -> None:
        self.address = ""
        self.sequence = 0
        self.digest = b""
        self.answers = True
        self.asked = 0

    async def GetLedgerStatus(
        self, request: pb.GetLedgerStatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetLedgerStatusResponse:
        self.asked += 1
        if not self.answers:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        return pb.GetLedgerStatusResponse(as_of_sequence=self.sequence, as_of_digest=self.digest)


@asynccontextmanager
async def stub_ledger() -> AsyncIterator[StubLedger]:
    """Serve one while the context lasts; at first its copy is empty."""
    server = grpc.aio.server()
    stub = StubLedger()  # type: ignore[abstract]  # nobody asks the rest
    pb_grpc.add_LedgerQueryServiceServicer_to_server(stub, server)
    stub.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield stub
    finally:
        await server.stop(0)
