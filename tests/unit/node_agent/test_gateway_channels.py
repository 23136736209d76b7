"""After a renewal a gateway is called on another connection, and the former doesn't stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest

from services.node_agent.adapters import gateway_channels
from services.node_agent.adapters.gateway_channels import GatewayChannels
from services.node_agent.adapters.node_credentials import NodeCredentials, Shown

GATEWAY, OTHER = "gateway-1:50054", "gateway-2:50054"


class _Credentials:
    """Shows a certificate of a number."""

    number = 1

    async def shown(self, node_id: str) -> Shown:
        return Shown(self.number, grpc.ssl_channel_credentials())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is open, by address, in the order of opening."""
    open_now: list[str] = []

    @asynccontextmanager
    async def open_channel(address: str, **_: Any) -> AsyncIterator[object]:
        open_now.append(address)
        yield object()
        open_now.remove(address)

    monkeypatch.setattr(gateway_channels, "open_channel", open_channel)
    return open_now


async def test_a_channel_is_shared_and_kept(opened: list[str]) -> None:
    channels = GatewayChannels(cast("NodeCredentials", _Credentials()))
    async with channels.lent(GATEWAY, "n-1") as first, channels.lent(GATEWAY, "n-1") as second:
        assert first is second
    async with channels.lent(GATEWAY, "n-1") as third, channels.lent(OTHER, "n-1"):
        assert third is first
        assert opened == [GATEWAY, OTHER]
    await channels.close()
    assert opened == []


async def test_after_a_renewal_the_former_ends_with_its_last_user(opened: list[str]) -> None:
    credentials = _Credentials()
    channels = GatewayChannels(cast("NodeCredentials", credentials))
    async with channels.lent(GATEWAY, "n-1") as stream:
        async with channels.lent(GATEWAY, "n-1"):
            credentials.number += 1
            async with channels.lent(GATEWAY, "n-1") as renewed:
                assert renewed is not stream
            assert opened == [GATEWAY, GATEWAY]
        assert opened == [GATEWAY, GATEWAY], "the stream goes on"
    assert opened == [GATEWAY]
    async with channels.lent(GATEWAY, "n-1") as again:
        assert again is renewed
    await channels.close()
    assert opened == []


async def test_however_often_it_is_renewed_one_channel_is_open(opened: list[str]) -> None:
    credentials = _Credentials()
    channels = GatewayChannels(cast("NodeCredentials", credentials))
    for credentials.number in range(1, 6):
        async with channels.lent(GATEWAY, "n-1"):
            assert opened == [GATEWAY]
    await channels.close()
    assert opened == []
