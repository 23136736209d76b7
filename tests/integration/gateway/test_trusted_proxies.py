"""Where a request comes from is what a trusted proxy says, and nobody else's word for it."""

import asyncio
from collections.abc import Sequence

import httpx2
import pytest
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from services.gateway.http_api.access import address_of
from services.gateway.http_api.server import HttpServer


async def telling(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the address that limits count by."""
    await PlainTextResponse(address_of(HTTPConnection(scope)))(scope, receive, send)


async def seen_address(trusted: Sequence[str], *forwarded: str) -> str:
    """Return what a gateway takes for the address of a request with these headers."""
    server = HttpServer(telling, "127.0.0.1:0", trusted_proxies=trusted)
    running = asyncio.create_task(server.run())
    headers = [("X-Forwarded-For", each) for each in forwarded]
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/", headers=headers)
    server.stop()
    await asyncio.wait_for(running, 60)
    return answer.text


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",), ("127.0.0.2",)])
async def test_who_is_no_trusted_proxy_comes_from_where_it_connects(trusted: Sequence[str]) -> None:
    assert await seen_address(trusted, "203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        (["[2001:db8::7]:4711, 10.1.2.3:80"], "2001:db8::7"),
        ([], "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_says_who_called_the_first_trusted_one(
    forwarded: list[str], client: str
) -> None:
    assert await seen_address(("127.0.0.1", "10.0.0.0/8"), *forwarded) == client
