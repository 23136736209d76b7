"""An agent's way in: it joins by token, shows its certificate, and has it renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fogbank.domain.join_tokens import JoinToken
from fogbank.runtime.certificates import Authority
from fogbank.v1 import node_service_pb2 as pb
from services.node_agent.adapters.gateway_stream import GrpcGateways, GrpcStream
from services.node_agent.adapters.key_work import KeyWork
from services.node_agent.adapters.node_credentials import NodeCredentials
from services.node_agent.app.ports import GatewayError
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from tests.support.agent_process import agent_process
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.gateway import GatewayWorld, gateway_world, signed_in
from tests.support.waiting import eventually

NODE = an_id("fog-1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.of_folder(tmp_path_factory.mktemp("ca"), "default")


@pytest.fixture
async def world(authority: Authority) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(authority=authority) as made:
        yield made


async def a_token(world: GatewayWorld) -> str:
    answer = await world.node_service.CreateJoinToken(
        pb.CreateJoinTokenRequest(), metadata=signed_in("admin")
    )
    return str(answer.token)


@asynccontextmanager
async def connected(
    world: GatewayWorld, folder: Path, token: str = "", **more: Any
) -> AsyncIterator[GrpcStream]:
    """Shake hands as the node whose folder it is."""
    more.setdefault("key_work", KeyWork())
    credentials = NodeCredentials(folder, world.address, token, Random(1), **more)
    async with (
        GrpcGateways([world.agent_address], credentials=credentials) as gateways,
        gateways.open(0, NODE, "fog-1") as stream,
    ):
        node = world.fold.fleet.facts.nodes.get(NODE)
        stream.send(ef.Hello(node.epoch if node else 0, 0, a_fingerprint(), ()))
        first = await anext(aiter(stream.messages()))
        assert isinstance(first, st.Welcomed)
        yield stream


async def why_not(world: GatewayWorld, folder: Path, token: str = "", **more: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        async with connected(world, folder, token, **more):
            pass
    assert caught.value.refused
    return str(caught.value)


async def test_it_joins_once_and_is_itself_from_then_on(
    world: GatewayWorld, tmp_path: Path
) -> None:
    async with connected(world, tmp_path, await a_token(world)):
        assert world.agents.count == 1
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600
    key = (tmp_path / "node.key").read_text()
    async with connected(world, tmp_path):
        pass
    assert (tmp_path / "node.key").read_text() == key
    assert len(world.fold.fleet.facts.identities) == 1


async def test_a_certificate_is_renewed_before_it_ends(world: GatewayWorld, tmp_path: Path) -> None:
    async with connected(world, tmp_path, await a_token(world)):
        before = (tmp_path / "node.crt").read_text()
    credentials = NodeCredentials(tmp_path, None, "", Random(1), key_work=KeyWork())
    first = await credentials.shown(NODE)
    credentials.renew_at_s = 0
    async with (
        GrpcGateways([world.agent_address], credentials=credentials) as gateways,
        gateways.open(0, NODE, "fog-1") as stream,
    ):
        epoch = world.fold.fleet.facts.nodes[NODE].epoch
        stream.send(ef.Hello(epoch, 0, a_fingerprint(), ()))
        told = asyncio.create_task(_listen(stream))
        # The file is there a moment before what is read from it.
        await eventually(lambda: credentials.renew_at_s > 0, what="the new certificate")
        told.cancel()
    assert (tmp_path / "node.crt").read_text() != before
    assert (await credentials.shown(NODE)).number > first.number
    async with connected(world, tmp_path):
        pass


async def _listen(stream: GrpcStream) -> None:
    async for _ in stream.messages():
        pass


async def test_what_keeps_it_out_is_said(
    world: GatewayWorld, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "is missing" in await why_not(world, tmp_path)
    assert "cut short" in await why_not(world, tmp_path, (await a_token(world))[:-4])
    good = JoinToken.parse(await a_token(world))
    other = JoinToken(good.id, good.secret, b"x" * 32).text
    assert "not of the fleet" in await why_not(world, tmp_path, other)
    async with connected(world, tmp_path, good.text):
        pass
    second = tmp_path_factory.mktemp("second")
    assert "another key" in await why_not(world, second, good.text)
    late = await why_not(world, tmp_path, now_s=lambda: time.time() + 7_200)
    assert "has expired" in late


async def test_who_joined_has_none_of_the_libraries_for_it_in_memory(
    world: GatewayWorld, tmp_path: Path
) -> None:
    joining = {"FOG_JOIN_TOKEN": await a_token(world), "FOG_JOIN_ADDR": world.address}
    async with agent_process(tmp_path, world.agent_address, **joining) as process:
        await eventually(lambda: world.agents.count == 1, what="the agent's stream")
        mapped = await asyncio.to_thread(Path(f"/proc/{process.pid}/maps").read_text)
    assert "cygrpc" in mapped
    assert not [name for name in ("cryptography", "_cffi", "pydantic_core") if name in mapped]
