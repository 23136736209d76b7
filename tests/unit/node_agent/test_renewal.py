"""A certificate is renewed in time, whatever goes wrong once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc
from services.node_agent.adapters import gateway_stream
from services.node_agent.adapters.gateway_stream import GrpcStream
from services.node_agent.app.ports import GatewayError
from tests.support.waiting import eventually


class _Credentials:
    """Is due, and can be read only at the last of several tries."""

    renew_at_s = 0.0

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.made = 0

    async def request(self, node_id: str) -> bytes:
        if self._errors:
            raise self._errors.pop(0)
        self.made += 1
        return f"request of {node_id}".encode()


class _Gateway(agent_service_pb2_grpc.AgentServiceServicer):
    """Welcomes, and keeps the first thing that it is told."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[pb.ConnectRequest] = asyncio.Queue()

    async def Connect(
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: object
    ) -> AsyncIterator[pb.ConnectResponse]:
        yield pb.ConnectResponse(welcome=pb.Welcome(epoch=1))
        async for request in request_iterator:
            self.heard.put_nowait(request)


@asynccontextmanager
async def _welcomed(credentials: Any) -> AsyncIterator[tuple[_Gateway, asyncio.Task[None]]]:
    """A gateway with one agent, and the task that renews its certificate."""
    server, gateway = grpc.aio.server(), _Gateway()  # type: ignore[abstract]
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = GrpcStream(channel, (), "n-1", "node-1", credentials)
            await anext(stream.messages())
            renewing = asyncio.create_task(stream.keep_fresh())
            yield gateway, renewing
            renewing.cancel()
            stream.close()
    finally:
        await server.stop(None)


async def test_a_key_that_can_not_be_read_once_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_stream, "_LEAST_RENEWAL_PAUSE_S", 0.001)
    monkeypatch.setattr(gateway_stream, "_RENEWAL_RETRY_S", 0)
    errors = GatewayError("too many open files"), GatewayError("no key", refused=True)
    credentials = _Credentials(*errors)
    async with _welcomed(credentials) as (gateway, renewing):
        async with asyncio.timeout(20):
            heard = asyncio.create_task(gateway.heard.get())
            await asyncio.wait({heard, renewing}, return_when=asyncio.FIRST_COMPLETED)
        assert not renewing.done()
        request = (await heard).certificate_renewal
        assert request.certificate_request == b"request of n-1"


async def test_a_gateway_that_does_not_answer_is_asked_again_with_the_same_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To make one takes a process, which would be started each second."""
    monkeypatch.setattr(gateway_stream, "_LEAST_RENEWAL_PAUSE_S", 0.001)
    credentials = _Credentials()
    async with _welcomed(credentials) as (gateway, _renewing), asyncio.timeout(20):
        requests = [(await gateway.heard.get()).certificate_renewal for _ in range(3)]
    assert {each.certificate_request for each in requests} == {b"request of n-1"}
    assert credentials.made == 1


async def test_a_clock_that_jumps_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a host that slept: timers stand still meanwhile."""
    monkeypatch.setattr(gateway_stream, "_LEAST_RENEWAL_PAUSE_S", 0.001)
    monkeypatch.setattr(gateway_stream, "_LOOK_AT_CLOCK_S", 0.001)
    clock = SimpleNamespace(now_s=time.time(), looks=0)

    def now_s() -> float:
        clock.looks += 1
        return float(clock.now_s)

    monkeypatch.setattr(gateway_stream, "time", SimpleNamespace(time=now_s))
    credentials = _Credentials()
    credentials.renew_at_s = clock.now_s + 3600
    async with _welcomed(credentials) as (gateway, _renewing):
        await eventually(lambda: clock.looks > 2)
        assert gateway.heard.empty()
        clock.now_s += 3600
        async with asyncio.timeout(20):
            await gateway.heard.get()
