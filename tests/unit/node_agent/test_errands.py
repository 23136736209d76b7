"""Errands end when nobody wants more of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.app.errands import Errands
from services.node_agent.app.ports import ContainerRuntime, Errand, LogsErrand
from tests.support.waiting import eventually


class _Runtime:
    """A container that wrote one line and is silent from then on, or one that breaks."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.open = 0

    async def logs(
        self, replica_id: str, tail: int, *, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        self.open += 1
        try:
            yield "hello"
            if self._error is not None:
                raise self._error
            await asyncio.Event().wait()
        finally:
            self.open -= 1


class _Gateway(agent_service_pb2_grpc.AgentServiceServicer):
    """Takes an errand's first pieces, and goes when it has so many."""

    def __init__(self, wants: int) -> None:
        self._wants = wants
        self.taken: list[pb.ServeRequest] = []

    async def Serve(
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: object
    ) -> pb.ServeResponse:
        async for request in request_iterator:
            self.taken.append(request)
            if len(self.taken) == self._wants:
                break
        return pb.ServeResponse()


def _errand_runs() -> bool:
    return any(each.get_name() == "errand:e-1" for each in asyncio.all_tasks())


async def run_errand(runtime: _Runtime, wants: int) -> list[pb.ServeRequest]:
    """Run an errand until it is over."""
    port: ContainerRuntime = runtime  # type: ignore[assignment]
    server, gateway = grpc.aio.server(), _Gateway(wants)  # type: ignore[abstract]
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(gateway, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with GrpcGateways([address]) as gateways:
            errands = Errands(port, gateways)
            errands.begin(Errand("e-1", "a", LogsErrand(10, follow=True)), 0)
            await eventually(lambda: not _errand_runs(), what="the errand's end")
    finally:
        await server.stop(None)
    return gateway.taken


@pytest.mark.parametrize("wants", [1, 2])
async def test_a_log_is_let_go_when_nobody_follows_it_any_more(wants: int) -> None:
    runtime = _Runtime()
    taken = await run_errand(runtime, wants)
    assert [each.output for each in taken] == [b"", b"hello"][:wants]
    await eventually(lambda: runtime.open == 0, 10, "the end of the log's stream")


async def test_who_asked_is_told_of_a_runtime_that_breaks() -> None:
    taken = await run_errand(_Runtime(TypeError("nobody thought of it")), 3)
    assert "TypeError('nobody thought of it')" in taken[-1].failure
