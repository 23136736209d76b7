"""What one caller may ask for: requests, failed sign-ins and streams, by REST and by gRPC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fogbank.codec.values import spec_to_pb
from fogbank.domain.errors import ResourceExhaustedError, UnauthenticatedError, UnavailableError
from fogbank.runtime.clock import ManualClock
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc, deployment_service_pb2_grpc
from fogbank.v1 import deployment_service_pb2 as pb
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.principal import Principal
from services.gateway.grpc_api.authentication import Authenticate
from tests.support.fleet_log import a_spec
from tests.support.gateway import gateway_world, refusal
from tests.support.named_users import PLENTY, named_identity
from tests.support.rest_face import RestFace, rest_face
from tests.support.scripted_agent import scripted_agent
from tests.support.waiting import eventually

OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
ALICE = (("authorization", "Bearer alice"),)
FEW = Allowance(
    requests_per_second=2, anonymous_requests_per_second=4, failed_sign_ins_per_minute=3, streams=2
)
ANN, BOB = (
    Principal("11111111-1111-4111-8111-111111111111"),
    Principal("22222222-2222-4222-8222-222222222222"),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limits(clock: ManualClock) -> Limits:
    return Limits(clock, FEW)


def test_each_user_has_its_own_allowance(limits: Limits, clock: ManualClock) -> None:
    for _ in range(4):
        limits.request(ANN)
    with pytest.raises(
        ResourceExhaustedError, match="Too many requests; try again in 1 s"
    ) as error:
        limits.request(ANN)
    assert error.value.retry_after_ms == 500
    limits.request(BOB)
    clock.advance(0.5)
    limits.request(ANN)


@pytest.mark.parametrize("step_s", [-3_600.0, 3_600.0])
def test_a_wall_clock_that_is_set_changes_nothing(
    limits: Limits, clock: ManualClock, step_s: float
) -> None:
    for _ in range(4):
        limits.request(ANN)
    clock.step(step_s)
    with pytest.raises(ResourceExhaustedError, match="try again in 1 s"):
        limits.request(ANN)
    clock.advance(0.5)
    limits.request(ANN)


def test_addresses_of_one_host_count_as_one(limits: Limits) -> None:
    for number in range(8):
        limits.anonymous(f"2001:db8:1:2::{number:x}")
    with pytest.raises(ResourceExhaustedError):
        limits.anonymous("2001:db8:1:2:ffff::1")
    limits.anonymous("2001:db8:1:3::1")
    for _ in range(8):
        limits.anonymous("192.0.2.1")
    with pytest.raises(ResourceExhaustedError):
        limits.anonymous("::ffff:192.0.2.1")


async def test_guessing_is_slowed_down_from_one_address_and_from_many(limits: Limits) -> None:
    async def fail(name: str, address: str) -> None:
        with pytest.raises(UnauthenticatedError):
            async with limits.sign_in(name, address):
                raise UnauthenticatedError("wrong")

    async def refused(name: str, address: str) -> str:
        with pytest.raises(ResourceExhaustedError) as error:
            async with limits.sign_in(name, address):
                pass
        return error.value.message

    for _ in range(3):
        await fail("ann", "192.0.2.1")
    assert re.search(r"that failed .*; try again in 20 s", await refused("ann", "192.0.2.1"))
    async with limits.sign_in("ann", "192.0.2.2"), limits.sign_in("bob", "192.0.2.1"):
        pass
    for number in range(27):
        await fail("ann", f"198.51.100.{number}")
    assert await refused("ann", "203.0.113.1")


def test_a_stream_that_ends_makes_room(limits: Limits) -> None:
    with limits.stream(ANN), limits.stream(ANN):
        with pytest.raises(ResourceExhaustedError, match="2 are allowed") as error:
            limits.room_for_stream(ANN)
        assert error.value.reason == "TOO_MANY_STREAMS"
        with limits.stream(BOB):
            pass
    with limits.stream(ANN):
        limits.room_for_stream(ANN)


@pytest.fixture
async def face(limits: Limits) -> AsyncIterator[RestFace]:
    async with rest_face() as running:
        running.app.state.dependencies.identity.limits = limits
        yield running


async def test_rest_says_when_to_try_again(face: RestFace) -> None:
    async with face.client() as client:
        answers = [await client.get("/api/deployment/list") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        assert answers[-1].headers["Retry-After"] == "1"
        assert answers[-1].json() == {"detail": "Too many requests; try again in 1 s"}
        polled = await client.get("/api/deployment/status/00000000-0000-4000-8000-000000000000")
        assert polled.status_code == 404, "reading a status is never limited"
        past = await client.get(f"{polled.request.url}?as_of=1")
        assert past.status_code == 429, "but as it was"


async def test_rest_limits_those_without_a_token_by_address(face: RestFace) -> None:
    async with face.client(None) as client:
        client.headers["Authorization"] = "Bearer nonsense"
        answers = [await client.get("/api/deployment/list") for _ in range(9)]
        assert [answer.status_code for answer in answers] == [401] * 8 + [429]
        assert (await client.get("/health")).status_code == 200, "probes are never limited"


@pytest.mark.parametrize("path", ["/status", "/api/v1/system/status", "/metrics", "/openapi.json"])
async def test_rest_limits_by_address_who_asks_for_what_is_costly(
    face: RestFace, path: str
) -> None:
    async with face.client(None) as client:
        answers = [(await client.get(path)).status_code for _ in range(9)]
    assert answers == [200] * 8 + [429]


class Reader:
    """Looks tokens up, as a database would, of which those of `good` are some."""

    good = frozenset({f"fogtok_good-{number}" for number in range(20)})

    def __init__(self) -> None:
        self.looks = 0
        self.up = True
        self._known: set[str] = set()

    def knows(self, token: str) -> bool:
        return token in self._known

    async def read(self, token: str) -> Principal:
        self.looks += 1
        if not self.up:
            raise UnavailableError("the database is out of reach")
        if token not in self.good:
            raise UnauthenticatedError("Not authenticated")
        self._known.add(token)
        return ANN


@pytest.fixture
def reader(face: RestFace, monkeypatch: pytest.MonkeyPatch) -> Reader:
    found = Reader()
    monkeypatch.setattr(face.app.state.dependencies.identity, "_api_tokens", found)
    return found


async def status_with(client: httpx2.AsyncClient, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    path = "/api/deployment/status/00000000-0000-4000-8000-000000000000"
    return (await client.get(path, headers=headers)).status_code


@pytest.mark.parametrize(("up", "status"), [(True, 401), (False, 503)])
async def test_tokens_are_looked_up_for_an_address_so_often_only(
    face: RestFace, reader: Reader, up: bool, status: int
) -> None:
    reader.up = up
    async with face.client(None) as client:
        answers = await asyncio.gather(
            *(status_with(client, f"fogtok_{number}") for number in range(12))
        )
    assert sorted(answers) == sorted([status] * 8 + [429] * 4)
    assert reader.looks == 8


async def test_good_tokens_do_not_count_and_known_ones_pass_beside_a_flood(
    face: RestFace, reader: Reader
) -> None:
    async with face.client(None) as client:
        assert {await status_with(client, token) for token in sorted(reader.good)} == {404}
        assert [await status_with(client, f"fogtok_{n}") for n in range(9)] == [401] * 8 + [429]
        assert {await status_with(client, token) for token in sorted(reader.good)} == {404}


async def test_rest_refuses_one_stream_too_many(face: RestFace, limits: Limits) -> None:
    face.users["bob"] = BOB.user_id
    async with face.client() as client:
        with limits.stream(BOB), limits.stream(BOB):
            answer = await client.get("/api/events")
    assert answer.status_code == 429
    assert "2 are allowed" in answer.json()["detail"]


async def test_wrong_passwords_and_unknown_names_are_refused_alike(face: RestFace) -> None:
    async with face.client() as client:
        answers: dict[str, list[httpx2.Response]] = {}
        await client.post("/api/auth/register", json={"username": "ann", "password": "secret-1"})
        for name in ("ann", "nobody"):
            face.app.state.dependencies.identity.limits = Limits(ManualClock(), FEW)
            answers[name] = [
                await client.post("/api/auth/login", json={"username": name, "password": "wrong-1"})
                for _ in range(4)
            ]
            assert [answer.status_code for answer in answers[name]] == [401] * 3 + [429]
        known, unknown = answers["ann"][-1], answers["nobody"][-1]
        assert known.json() == unknown.json()
        assert known.headers["Retry-After"] == unknown.headers["Retry-After"] == "20"


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """One that answers."""

    async def ListDeployments(self, request: object, context: object) -> pb.ListDeploymentsResponse:
        return pb.ListDeploymentsResponse()

    async def GetDeployment(self, request: object, context: object) -> pb.GetDeploymentResponse:
        return pb.GetDeploymentResponse()

    async def WatchDeployments(
        self, request: object, context: object
    ) -> AsyncIterator[pb.WatchDeploymentsResponse]:
        yield pb.WatchDeploymentsResponse()
        await asyncio.Event().wait()

    async def SubmitDeployments(
        self, request_iterator: AsyncIterator[pb.SubmitDeploymentsRequest], context: object
    ) -> AsyncIterator[pb.SubmitDeploymentsResponse]:
        async for _ in request_iterator:
            yield pb.SubmitDeploymentsResponse()


async def code_of(call: object) -> grpc.StatusCode:
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@asynccontextmanager
async def grpc_face(
    limits: Limits,
) -> AsyncIterator[deployment_service_pb2_grpc.DeploymentServiceAsyncStub]:
    server = GrpcServer([], interceptors=[Authenticate(named_identity(limits))])
    answering: Any = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(answering, server.grpc)
    port = await server.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield deployment_service_pb2_grpc.DeploymentServiceStub(channel)
    finally:
        await server.stop(0)


async def test_grpc_counts_calls(limits: Limits, clock: ManualClock) -> None:
    async with grpc_face(limits) as stub:
        calls = [
            await code_of(stub.ListDeployments(pb.ListDeploymentsRequest(), metadata=ALICE))
            for _ in range(5)
        ]
        assert calls == [OK] * 4 + [EXHAUSTED]
        assert await code_of(stub.GetDeployment(pb.GetDeploymentRequest(), metadata=ALICE)) is OK
        for nobodys in ((), (("authorization", "Bearer fogtok_nonsense"),)):
            clock.advance(1_000)
            nobody = [
                await code_of(stub.ListDeployments(pb.ListDeploymentsRequest(), metadata=nobodys))
                for _ in range(9)
            ]
            assert nobody == [grpc.StatusCode.UNAUTHENTICATED] * 8 + [EXHAUSTED]


async def test_grpc_counts_streams(clock: ManualClock) -> None:
    limits = Limits(clock, replace(FEW, requests_per_second=1_000_000))
    async with grpc_face(limits) as stub:

        async def opened() -> Any:
            stream = stub.WatchDeployments(pb.WatchDeploymentsRequest(), metadata=ALICE)
            try:
                await anext(aiter(stream))
            except grpc.aio.AioRpcError as error:
                assert error.code() is EXHAUSTED  # noqa: PT017
                return None
            return stream

        first, second, third = await opened(), await opened(), await opened()
        assert first
        assert second
        assert third is None
        first.cancel()
        await eventually(opened, what="room for another stream")


async def test_grpc_counts_streams_both_ways(clock: ManualClock) -> None:
    limits = Limits(clock, replace(FEW, requests_per_second=1_000_000))
    async with grpc_face(limits) as stub:
        streams = []
        for _ in range(2):
            streams.append(stub.SubmitDeployments(metadata=ALICE))
            await streams[-1].write(pb.SubmitDeploymentsRequest())
            assert await streams[-1].read()
        one_more = stub.SubmitDeployments(iter([pb.SubmitDeploymentsRequest()]), metadata=ALICE)
        with pytest.raises(grpc.aio.AioRpcError, match="close one first"):
            await one_more.read()


async def test_the_messages_of_a_stream_wait_for_their_turn(clock: ManualClock) -> None:
    limits = Limits(clock, replace(FEW, requests_per_second=100))
    async with grpc_face(limits) as stub:
        stream = stub.SubmitDeployments(metadata=ALICE)
        for _ in range(199):  # the call itself counts too
            await stream.write(pb.SubmitDeploymentsRequest())
            assert await stream.read()
        await stream.write(pb.SubmitDeploymentsRequest())
        more = asyncio.ensure_future(stream.read())
        with pytest.raises(grpc.aio.AioRpcError, match="Too many requests"):
            await stub.ListDeployments(pb.ListDeploymentsRequest(), metadata=ALICE)
        assert not more.done()
        clock.advance(0.02)
        assert await more


async def test_streams_without_a_token_are_counted_by_address(clock: ManualClock) -> None:
    limits = Limits(clock, replace(FEW, anonymous_streams=2))
    server = GrpcServer([], interceptors=[Authenticate(named_identity(limits))])
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        untyped: Any = channel
        health: Any = health_pb2_grpc.HealthStub(untyped)
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
        listed = reflection_pb2.ServerReflectionRequest(list_services="")

        async def watched() -> Any:
            stream = health.Watch(health_pb2.HealthCheckRequest())
            try:
                await anext(aiter(stream))
            except grpc.aio.AioRpcError as error:
                assert error.code() is EXHAUSTED  # noqa: PT017
                return None
            return stream

        first, second = await watched(), await watched()
        assert first
        assert second
        assert await watched() is None
        one_more = reflection.ServerReflectionInfo(iter([listed]))
        with pytest.raises(grpc.aio.AioRpcError, match="close one first"):
            await one_more.read()
        assert await health.Check(health_pb2.HealthCheckRequest()), "a probe is never refused"
        first.cancel()
        await eventually(watched, what="room for another stream")
    await server.stop(0)


async def test_who_comes_as_an_agent_without_credentials_counts_as_a_stranger(
    clock: ManualClock,
) -> None:
    async with gateway_world(clock=clock, allowance=FEW) as world:
        strangers: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
        hello = agent_service_pb2.ConnectRequest(hello=agent_service_pb2.Hello())

        async def refused() -> str:
            stream = strangers.Connect(iter([hello]))
            return (await refusal(stream.read())).details() or ""

        told = [await refused() for _ in range(9)]
        assert sum("FOG_AGENT_TOKEN is missing" in words for words in told) == 8
        assert "Too many requests from your address" in told[-1]
        async with scripted_agent(world.channel) as agent:
            await agent.shake_hands()


async def test_strangers_that_say_nothing_hold_few_places(clock: ManualClock) -> None:
    allowance = replace(PLENTY, anonymous_streams=2)
    async with gateway_world(clock=clock, allowance=allowance) as world:
        strangers: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
        silent = [strangers.Connect() for _ in range(3)]
        ends = [asyncio.ensure_future(refusal(stream.read())) for stream in silent]
        hello = agent_service_pb2.ConnectRequest(hello=agent_service_pb2.Hello())
        # Which of the three reaches the gateway last isn't said, only that the last is refused.
        turned_away, rest = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert [end.result().code() for end in turned_away] == [EXHAUSTED]
        for stream, end in zip(silent, ends, strict=True):
            if end in rest:
                await stream.write(hello)
        assert [(await end).code() for end in rest] == [grpc.StatusCode.UNAUTHENTICATED] * 2


async def test_each_deployment_of_a_batch_counts(clock: ManualClock) -> None:
    allowance = Allowance(requests_per_second=2)
    async with gateway_world(clock=clock, allowance=allowance) as world:
        service = world.deployment_service
        ask = pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec()))
        batch = pb.CreateDeploymentsRequest(requests=[ask] * 10)
        await service.CreateDeployments(batch, metadata=ALICE)
        listing = pb.ListDeploymentsRequest()
        error = await refusal(service.ListDeployments(listing, metadata=ALICE))
        assert "Too many requests; try again in 4 s" in (error.details() or "")
        clock.advance(3.5)
        await service.ListDeployments(listing, metadata=ALICE)
