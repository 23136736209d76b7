"""A service for the tests, written by hand: four kinds of calls over plain bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]
NAME = "fogbank.test.Echo"


async def echo(request: bytes, _context: Any) -> bytes:
    return request


def add_echo(server: grpc.aio.Server, behaviour: Behaviour = echo) -> None:
    """Serve `behaviour` as all four kinds; each message of a stream is one request."""

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await behaviour(request, context)
        yield await behaviour(request, context)

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"+".join([await behaviour(request, context) async for request in requests])

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await behaviour(request, context)

    async def written(request: bytes, context: Any) -> None:
        await context.write(await behaviour(request, context))

    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(behaviour),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(unary_stream),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(stream_unary),
        "StreamStream": grpc.stream_stream_rpc_method_handler(stream_stream),
        "Written": grpc.unary_stream_rpc_method_handler(written),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


async def call(channel: Any, kind: str, request: bytes) -> list[bytes]:
    """Call one of the methods with one request and return all answers."""
    path = f"/{NAME}/{kind}"

    async def requests() -> AsyncIterator[bytes]:
        yield request
        await asyncio.sleep(0)

    if kind == "Unary":
        return [await channel.unary_unary(path)(request)]
    if kind == "StreamUnary":
        return [await channel.stream_unary(path)(requests())]
    if kind == "StreamStream":
        return [answer async for answer in channel.stream_stream(path)(requests())]
    return [answer async for answer in channel.unary_stream(path)(request)]


KINDS = ["Unary", "UnaryStream", "StreamUnary", "StreamStream", "Written"]
