"""A refused stream tells the caller why, however fast it speaks."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import agent_service_pb2_grpc
from services.gateway.app.gate import Gate
from services.gateway.grpc_api.gatekeeper import Gatekeeper
from tests.support.scripted_agent import scripted_agent
from tests.support.two_stores import refusal_of

# A hundredth to a fiftieth of them ended with INTERNAL when nobody took their first message.
STREAMS = 300


async def test_every_agent_is_told_that_a_gateway_does_not_serve_yet() -> None:
    server = GrpcServer([], interceptors=[Gatekeeper(Gate())])
    unreached: Any = agent_service_pb2_grpc.AgentServiceServicer()  # type: ignore[abstract]
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(unreached, server.grpc)
    port = await server.start("127.0.0.1:0")
    codes = set()
    try:
        for _ in range(STREAMS):
            async with (
                grpc.aio.insecure_channel(
                    f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
                ) as channel,
                scripted_agent(channel) as agent,
            ):
                codes.add(await refusal_of(agent))
    finally:
        await server.stop(0)
    assert codes == {grpc.StatusCode.UNAVAILABLE}
