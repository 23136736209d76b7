"""The REST face keeps what its OpenAPI document says, whatever is sent."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from schemathesis import GenerationMode

from services.gateway.http_api.server import HttpServer
from tests.support.openapi_check import MODES, assert_every_answer_is_documented
from tests.support.rest_face import rest_face


@dataclass
class Address:
    url: str
    token: str


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """A served face in a thread with an event loop of its own."""
    found: list[Address] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with rest_face() as face:
            await face.add_nodes("edge-1", "edge-2")
            server = HttpServer(face.app, "127.0.0.1:0")
            running = asyncio.create_task(server.run())
            found.append(Address(f"http://127.0.0.1:{server.port}", face.token()))
            started.set()
            await asyncio.to_thread(stop.wait)
            server.stop()
            await running

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield found[0]
    stop.set()
    thread.join(30)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_documented(address: Address, mode: GenerationMode) -> None:
    assert_every_answer_is_documented(address.url, lambda: address.token, mode, 30)


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_documented_at_length(address: Address, mode: GenerationMode) -> None:
    assert_every_answer_is_documented(address.url, lambda: address.token, mode, 1_000)
