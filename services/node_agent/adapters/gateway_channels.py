"""Connections to gateways: one for each address, which shows what the node has to show now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio

from fogbank.runtime.certificate_ends import GATEWAY_NAME
from fogbank.runtime.grpc_channel import open_channel
from services.node_agent.adapters.node_credentials import NodeCredentials, Shown


@dataclass(slots=True)
class _Kept:
    """A channel, what closes it, the number of what it shows, and how many use it."""

    channel: grpc.aio.Channel
    stack: AsyncExitStack
    number: int
    users: int = 0


class GatewayChannels:
    """Opens channels when they are first used; after a renewal the former end with their users."""

    def __init__(self, credentials: NodeCredentials | None) -> None:
        self._credentials = credentials
        self._channels: dict[str, _Kept] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def lent(self, address: str, node_id: str) -> AsyncIterator[grpc.aio.Channel]:
        """Lend the channel to an address (host:port) while the context lasts.

        Raises:
            GatewayError: the node has no certificate to show, and can't join.
        """
        async with self._opening:
            kept = await self._current(address, node_id)
            kept.users += 1
        try:
            yield kept.channel
        finally:
            kept.users -= 1
            if not kept.users and self._channels.get(address) is not kept:
                await kept.stack.aclose()

    async def close(self) -> None:
        """Close all channels."""
        while self._channels:
            _, kept = self._channels.popitem()
            await kept.stack.aclose()

    async def _current(self, address: str, node_id: str) -> _Kept:
        shown = None
        if self._credentials is not None:
            shown = await self._credentials.shown(node_id)
        former = self._channels.get(address)
        if former is not None and (shown is None or shown.number == former.number):
            return former
        kept = self._channels[address] = await _opened(address, shown)
        if former is not None and not former.users:
            await former.stack.aclose()
        return kept


async def _opened(address: str, shown: Shown | None) -> _Kept:
    if shown is None:
        opening, number = open_channel(address), 0
    else:
        number = shown.number
        opening = open_channel(address, credentials=shown.credentials, server_name=GATEWAY_NAME)
    stack = AsyncExitStack()
    return _Kept(await stack.enter_async_context(opening), stack, number)
