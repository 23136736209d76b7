"""The server and the channel, over a real loopback connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import REGISTRY

from fogbank.domain.errors import (
    FieldViolation,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.runtime.grpc_interceptors import Boundary
from fogbank.runtime.grpc_server import MAX_REQUEST_BYTES, GrpcServer
from tests.support.waiting import eventually
from tests.unit.runtime.echo import KINDS, NAME, Behaviour, add_echo, call, echo


@asynccontextmanager
async def running(behaviour: Behaviour = echo, **options: Any) -> AsyncIterator[GrpcServer]:
    server = GrpcServer([NAME], **options)
    add_echo(server.grpc, behaviour)
    await server.start("127.0.0.1:0")
    await server.serving()
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def connected(
    behaviour: Behaviour = echo, token: str | None = None, **options: Any
) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        running(behaviour, **options) as server,
        open_channel(f"127.0.0.1:{server.port}", token=token) as channel,
    ):
        yield channel


def handled(kind: str, code: str) -> float:
    labels = {"method": f"/{NAME}/{kind}", "code": code}
    return REGISTRY.get_sample_value("fog_grpc_handled_total", labels) or 0


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_all_kinds_go_through_and_are_counted(kind: str) -> None:
    before = handled(kind, "OK")
    async with connected() as channel:
        answers = await call(channel, kind, b"hello")
    assert set(answers) == {b"hello"}
    assert handled(kind, "OK") == before + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_arrives_as_it_was_raised(kind: str) -> None:
    async def refuse(_request: bytes, _context: Any) -> bytes:
        raise InvalidArgumentError(
            "no", reason="BAD_NAME", violations=(FieldViolation("spec.name", "is empty"),)
        )

    before = handled(kind, "INVALID_ARGUMENT")
    async with connected(refuse) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"")
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert error.reason == "BAD_NAME"
    assert error.violations[0].field == "spec.name"
    # It is counted after the answer has left.
    await eventually(lambda: handled(kind, "INVALID_ARGUMENT") == before + 1, what="the count")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_unforeseen_stays_inside(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(_request: bytes, _context: Any) -> bytes:
        raise RuntimeError("the inner secret")

    async with connected(fail) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "Internal server error"
    assert "the inner secret" in capsys.readouterr().out


async def test_a_service_behind_that_is_down_is_passed_on() -> None:
    async def ask_behind(_request: bytes, _context: Any) -> bytes:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "ledger is down"
        )

    async with connected(ask_behind) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Unary", b"")
    assert isinstance(from_rpc_error(caught.value), UnavailableError)


async def test_another_refusal_of_a_service_behind_is_our_fault() -> None:
    async def ask_behind(_request: bytes, _context: Any) -> bytes:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAUTHENTICATED, grpc.aio.Metadata(), grpc.aio.Metadata(), "who?"
        )

    async with connected(ask_behind) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Unary", b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_call_without_a_deadline_gets_one() -> None:
    handled = []

    async def hang(request: bytes, _context: Any) -> bytes:
        handled.append(request)
        await asyncio.Event().wait()
        return b""

    server = grpc.aio.server(interceptors=[Boundary(lambda request: 60 if request else 0.05)])
    add_echo(server, hang)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            more = asyncio.ensure_future(call(channel, "Unary", b"more"))
            await eventually(lambda: handled == [b"more"], what="the first call to be handled")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Unary", b"")
            assert not more.done(), "it has more time"
            more.cancel()
    finally:
        await server.stop(0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stream_of_requests_lasts_as_long_as_it_is_wanted() -> None:
    server = grpc.aio.server(interceptors=[Boundary(lambda _: 0)])
    add_echo(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            assert await call(channel, "StreamUnary", b"late") == [b"late"]
    finally:
        await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_services_token_opens(kind: str) -> None:
    async with (
        running(token="right") as server,
        open_channel(f"127.0.0.1:{server.port}", token="right") as good,
        open_channel(f"127.0.0.1:{server.port}", token="wrong") as bad,
        open_channel(f"127.0.0.1:{server.port}") as none,
    ):
        assert set(await call(good, kind, b"x")) == {b"x"}
        for channel in (bad, none):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, kind, b"x")
            assert isinstance(from_rpc_error(caught.value), UnauthenticatedError)


async def test_a_request_beyond_the_limit_is_refused() -> None:
    async with connected() as channel:
        await call(channel, "Unary", bytes(MAX_REQUEST_BYTES - 100))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Unary", bytes(MAX_REQUEST_BYTES + 1))
    assert isinstance(from_rpc_error(caught.value), ResourceExhaustedError)


async def test_an_unknown_method_is_counted_without_its_name() -> None:
    labels = {"method": "unknown", "code": "UNIMPLEMENTED"}
    before = REGISTRY.get_sample_value("fog_grpc_handled_total", labels) or 0
    async with connected() as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "NoSuchMethod", b"")
    assert REGISTRY.get_sample_value("fog_grpc_handled_total", labels) == before + 1


async def test_health_follows_the_service_and_needs_no_token() -> None:
    server = GrpcServer([NAME], token="right")
    await server.start("127.0.0.1:0")
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def status(name: str) -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            return int(answer.status)

        assert await status("") == health_pb2.HealthCheckResponse.NOT_SERVING
        await server.serving()
        assert await status("") == health_pb2.HealthCheckResponse.SERVING
        assert await status(NAME) == health_pb2.HealthCheckResponse.SERVING
        await server.not_serving()
        assert await status(NAME) == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.stop(0)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services(version: str) -> None:
    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async with connected() as channel:
        stream = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(ask())
        (answer,) = [answer async for answer in stream]
    names = {service.name for service in answer.list_services_response.service}
    assert {NAME, "grpc.health.v1.Health"} <= names


async def test_channelz_answers() -> None:
    async with connected() as channel:
        stub: Any = channelz_pb2_grpc.ChannelzStub(cast("grpc.Channel", channel))
        answer = await stub.GetServers(channelz_pb2.GetServersRequest())
    assert answer.server


async def test_a_taken_port_is_refused() -> None:
    async with running() as server:
        second = GrpcServer([NAME])
        with pytest.raises(OSError, match="cannot listen"):
            await second.start(f"127.0.0.1:{server.port}")
        await second.stop(0)


async def test_stopping_lets_calls_in_flight_finish() -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(request: bytes, _context: Any) -> bytes:
        arrived.set()
        await release.wait()
        return request

    async with running(slow) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        async with asyncio.TaskGroup() as group:
            in_flight = group.create_task(call(channel, "Unary", b"kept"))
            await arrived.wait()
            stopping = group.create_task(server.stop(10))
            await asyncio.sleep(0)
            release.set()
        assert in_flight.result() == [b"kept"]
        assert stopping.done()


async def test_a_client_that_goes_away_counts_as_cancelled() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def slow(_request: bytes, _context: Any) -> bytes:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return b""

    before = handled("Unary", "CANCELLED")
    async with connected(slow) as channel:
        pending = asyncio.ensure_future(call(channel, "Unary", b""))
        await arrived.wait()
        pending.cancel()
        await asyncio.wait([pending])
        await asyncio.wait_for(gone.wait(), 60)
        await asyncio.sleep(0)
    assert handled("Unary", "CANCELLED") == before + 1
