"""Clients that stand still: they hold up nobody, are cut with a reason, and can go on."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.log.port import EventLog
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import audit_service_pb2, deployment_service_pb2
from services.gateway.app.principal import Role
from services.gateway.http_api.connections import NOT_READ, NOT_SENT
from services.gateway.http_api.server import HttpServer
from tests.support.fleet_log import a_fingerprint
from tests.support.gateway import gateway_world, signed_in
from tests.support.rest_face import RestFace, rest_face
from tests.support.waiting import eventually

PATIENCE_S = 1.0
COMMITS = 40
COMMIT_BYTES = 200_000
SMALL = 4096


async def fill(log: EventLog) -> int:
    """Append more than all buffers on the way to a client hold; return the last sequence."""
    node_id = str(uuid4())
    last = 0
    for _ in range(COMMITS):
        fingerprint = a_fingerprint(labels={"filler": "x" * COMMIT_BYTES})
        connected = ev.NodeConnected(node_id, "edge-1", fingerprint)
        envelope = EventEnvelope(str(uuid4()), connected, "node/edge-1", "node/edge-1", 1)
        last = await log.append(encode_commit(1, [encode_envelope(envelope)]))
    return last


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[HttpServer]:
    """Serve an app that has little patience."""
    server = HttpServer(app, "127.0.0.1:0", client_patience_s=PATIENCE_S)
    running = asyncio.create_task(server.run())
    yield server
    server.stop()
    await asyncio.wait_for(running, 60)


def cut(reason: str) -> float:
    return REGISTRY.get_sample_value("fog_http_connections_cut_total", {"reason": reason}) or 0.0


class Follower:
    """Follows the event stream over a plain socket, when it is told to."""

    def __init__(self, server: HttpServer, token: str, after: int, buffer: int = 0) -> None:
        plain = socket.socket()
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.connect(("127.0.0.1", server.port))
        plain.setblocking(False)
        self._socket = plain
        self._asks = (
            f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Last-Event-ID: {after}\r\n\r\n"
        ).encode()
        self.got = bytearray()

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, self._asks)
        assert await loop.sock_recv(self._socket, 15) == b"HTTP/1.1 200 OK"

    async def read(self, upto: int = 0) -> list[int]:
        """Read until the message of a commit, or else to the end; return all whole ids."""
        loop = asyncio.get_running_loop()
        marker = f"id: {upto}\ndata: ".encode() if upto else b"\r\n0\r\n\r\n"
        looked_at = 0
        async with asyncio.timeout(60):
            while (found := self.got.find(marker, looked_at)) < 0 or (
                upto and self.got.find(b"\n\n", found) < 0
            ):
                looked_at = max(0, len(self.got) - len(marker)) if found < 0 else found
                data = await loop.sock_recv(self._socket, 1 << 20)
                assert data, self.got[-100:]
                self.got += data
        return [int(each) for each in re.findall(rb"id: (\d+)\ndata: .*\n\n", self.got)]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face(client_patience_s=PATIENCE_S) as found:
        yield found


async def test_a_follower_that_does_not_read_is_cut_and_goes_on_elsewhere(face: RestFace) -> None:
    before = cut(NOT_READ)
    token = face.token("root", Role.ADMIN)
    async with served(face.app) as server:
        begin = face.fold.position
        still = Follower(server, token, begin, SMALL)
        lively = Follower(server, token, begin)
        await still.begin()
        await lively.begin()
        last = await fill(face.log)
        expected = list(range(begin + 1, last + 1))
        assert await lively.read(last) == expected, "nobody waits for the one that stands still"
        await eventually(lambda: cut(NOT_READ) == before + 1, what="the cut")
        lively.close()

        ids = await still.read()
        assert still.got.endswith(
            b": %s; resume with Last-Event-ID\n\n\r\n0\r\n\r\n" % NOT_READ.encode()
        )
        assert len(ids) < COMMITS, "it got only what was on its way"
        resumed = Follower(server, token, ids[-1] if ids else begin)
        await resumed.begin()
        assert ids + await resumed.read(last) == expected
        still.close()
        resumed.close()


async def test_a_websocket_that_is_not_read_is_closed_with_the_reason() -> None:
    gone = asyncio.Event()

    async def talkative(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        listening = asyncio.ensure_future(_disconnected(receive))
        for number in count():
            sending = asyncio.ensure_future(
                send({"type": "websocket.send", "text": f"{number} {'x' * 65536}"})
            )
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                sending.cancel()
                break
        gone.set()

    async with served(talkative) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        async with connect(url, max_queue=1, ping_interval=None, compression=None) as client:
            await asyncio.wait_for(gone.wait(), 60)
            numbers: list[int] = []
            with suppress(ConnectionClosed):
                async for message in client:
                    numbers.append(int(str(message).partition(" ")[0]))  # noqa: PERF401
        assert numbers == list(range(len(numbers)))
        assert (client.close_code, client.close_reason) == (1013, NOT_READ)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def ended(stream: Any, got: list[int]) -> grpc.aio.AioRpcError:
    """Read a stream to its end; return how it ended."""
    try:
        async for message in stream:
            got.append(message.sequence)  # noqa: PERF401 (what came before the error counts)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it ended well")


async def another_cut(before: float) -> bool:
    """Tell whether one more stream was cut, after the time that it takes."""
    with suppress(AssertionError):
        return await eventually(
            lambda: REGISTRY.get_sample_value("fog_grpc_streams_cut_total") == before + 1,
            2 * PATIENCE_S,
        )
    return False


async def test_a_grpc_stream_that_is_not_read_ends_with_the_reason() -> None:
    async with gateway_world(patience_s=PATIENCE_S) as world:
        begin = world.fold.position

        def follow(after: int) -> Any:
            request = audit_service_pb2.ReadEventsRequest(after_sequence=after, follow=True)
            return world.audit_service.ReadEvents(request, metadata=signed_in("admin"))

        before = REGISTRY.get_sample_value("fog_grpc_streams_cut_total") or 0.0
        still, lively = follow(begin), follow(begin)
        expected: list[int] = []
        async with asyncio.timeout(60):
            # A channel takes the more, the longer what was sent is on its way.
            while not expected or not await another_cut(before):
                first, last = len(expected), await fill(world.log)
                expected = list(range(begin + 1, last + 1))
                assert [(await lively.read()).sequence for _ in expected[first:]] == expected[
                    first:
                ]
            got: list[int] = []
            error = await ended(still, got)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = from_rpc_error(error)
        assert (told.reason, bool(told.retry_after_ms)) == ("CLIENT_TOO_SLOW", True)
        resumed = follow(got[-1] if got else begin)
        async with asyncio.timeout(60):
            got += [(await resumed.read()).sequence for _ in range(len(expected) - len(got))]
        assert got == expected


async def test_a_stream_both_ways_whose_answers_are_not_read_ends_with_the_reason() -> None:
    async with gateway_world(patience_s=PATIENCE_S) as world:
        before = REGISTRY.get_sample_value("fog_grpc_streams_cut_total") or 0.0
        # Refused one by one, so that the answers are long and nothing is deployed.
        wrong = deployment_service_pb2.CreateDeploymentRequest(request_id="x" * 100)
        message = deployment_service_pb2.SubmitDeploymentsRequest(requests=[wrong] * 1000)
        stream = world.deployment_service.SubmitDeployments(metadata=signed_in("alice"))
        sending = asyncio.create_task(_send_for_ever(stream, message))
        await eventually(
            lambda: REGISTRY.get_sample_value("fog_grpc_streams_cut_total") == before + 1,
            what="the end of the stream whose answers nobody reads",
        )
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        stream.cancel()


async def _send_for_ever(
    stream: Any, message: deployment_service_pb2.SubmitDeploymentsRequest
) -> None:
    while True:
        await stream.write(message)


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (b"GET /livez HTTP/1.1\r\nHos", b"408", b""),
        (b"", b"408", b""),
        (
            b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
            b"408",
            b'{"detail":"body: must be sent within 1 s"}',
        ),
    ],
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    face: RestFace, sent: bytes, status: bytes, says: bytes
) -> None:
    async with served(face.app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 %s " % status)
        assert answer.endswith(says)
        writer.close()
        assert says or cut(NOT_SENT)
