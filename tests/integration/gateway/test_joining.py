"""Joining by token over real TLS: who gets a certificate, and for whom it speaks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from fogbank.codec.registry import BY_DOMAIN
from fogbank.domain import events as ev
from fogbank.domain.join_tokens import JoinToken
from fogbank.runtime.certificates import Authority, Certificate, Identity, make_key, make_request
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc
from fogbank.v1 import node_service_pb2 as pb
from fogbank.v1.node_service_pb2_grpc import NodeServiceStub
from tests.support.fleet_log import an_id
from tests.support.gateway import AGENT_TOKEN, GatewayWorld, gateway_world, refusal, signed_in
from tests.support.scripted_agent import ScriptedAgent, scripted_agent
from tests.support.waiting import eventually

ADMIN = signed_in("admin")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.of_folder(tmp_path_factory.mktemp("ca"), "default")


@pytest.fixture
async def world(authority: Authority) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(authority=authority) as made:
        yield made


async def a_token(world: GatewayWorld, **request: Any) -> str:
    answer = await world.node_service.CreateJoinToken(
        pb.CreateJoinTokenRequest(**request), metadata=ADMIN
    )
    return str(answer.token)


async def join(world: GatewayWorld, token: str, name: str, key: str) -> str:
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
    node_id = an_id(name)
    request = agent_service_pb2.JoinRequest(
        token=token, node_id=node_id, certificate_request=make_request(key, node_id)
    )
    return str((await stub.Join(request)).certificate_pem)


def credentials(authority: Authority, key: str, certificate: str) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.certificate_pem.encode(), key.encode(), certificate.encode()
    )


@asynccontextmanager
async def agent_of(
    world: GatewayWorld, authority: Authority, key: str, certificate: str, name: str
) -> AsyncIterator[ScriptedAgent]:
    """Connect as a node, with a certificate that may be another's."""
    async with (
        open_channel(
            world.agent_address, credentials=credentials(authority, key, certificate)
        ) as channel,
        scripted_agent(channel, name, token="") as agent,
    ):
        yield agent


async def reason(call: Any) -> str:
    return from_rpc_error(await refusal(call)).reason


async def test_a_token_gives_a_node_an_identity(world: GatewayWorld, authority: Authority) -> None:
    token, key = await a_token(world), make_key()
    pinned = JoinToken.parse(token)
    assert pinned.authority == authority.fingerprint
    certificate = await join(world, token, "fog-1", key)
    assert Certificate.read(certificate).identity == Identity("default", "node", an_id("fog-1"))
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.shake_hands()
        assert world.agents.count == 1
    listed = await world.node_service.ListJoinTokens(pb.ListJoinTokensRequest(), metadata=ADMIN)
    (only,) = listed.tokens
    assert (only.id, only.uses, only.max_uses, only.revoked) == (pinned.id, 1, 1, False)
    kinds = {BY_DOMAIN[kind].name for kind in (ev.JoinTokenCreated, ev.NodeJoined)}
    commits = [await world.fold.commit(each) for each in range(1, world.fold.position + 1)]
    named = {
        BY_DOMAIN[type(envelope.event)].name
        for commit in commits
        for envelope in commit.envelopes
        if envelope.event is not None
    }
    assert kinds <= named
    assert not any(pinned.secret in repr(commit).encode() for commit in commits)


async def test_a_used_up_token_lets_only_those_in_who_have_it(world: GatewayWorld) -> None:
    token, key = await a_token(world), make_key()
    await join(world, token, "fog-1", key)
    await join(world, token, "fog-1", key)  # it did not hear the first answer
    assert await reason(join(world, token, "fog-2", make_key())) == "TOKEN_USED_UP"
    assert await reason(join(world, token, "fog-1", make_key())) == "OTHER_KEY"


async def test_bad_tokens_are_refused_and_leave_nothing_in_the_log(world: GatewayWorld) -> None:
    revoked = await a_token(world, uses=3)
    await world.node_service.RevokeJoinToken(
        pb.RevokeJoinTokenRequest(token_id=JoinToken.parse(revoked).id[:8]), metadata=ADMIN
    )
    good = JoinToken.parse(await a_token(world, lifetime=Duration(seconds=1)))
    guessed = JoinToken(good.id, b"x" * 32, good.authority).text
    unknown = JoinToken(an_id("nothing"), good.secret, good.authority).text
    before = world.fold.position
    for token, expected in (
        (revoked, "TOKEN_REVOKED"),
        (guessed, "TOKEN_UNKNOWN"),
        (unknown, "TOKEN_UNKNOWN"),
    ):
        assert await reason(join(world, token, "fog-1", make_key())) == expected
    cut = await refusal(join(world, guessed[:-3], "fog-1", make_key()))
    assert cut.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cut short" in (cut.details() or "")
    assert world.fold.position == before
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
    for wrong in ({"certificate_request": b"nonsense", "node_id": an_id("x")}, {"node_id": "x"}):
        request = agent_service_pb2.JoinRequest(token=good.text, **wrong)
        error = await refusal(stub.Join(request))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_tokens_are_for_administrators_and_a_repeat_gets_the_same(
    world: GatewayWorld,
) -> None:
    for call in (
        world.node_service.CreateJoinToken(
            pb.CreateJoinTokenRequest(), metadata=signed_in("alice")
        ),
        world.node_service.ListJoinTokens(pb.ListJoinTokensRequest(), metadata=signed_in("alice")),
        world.node_service.RevokeJoinToken(
            pb.RevokeJoinTokenRequest(token_id="x"), metadata=signed_in("alice")
        ),
    ):
        assert (await refusal(call)).code() is grpc.StatusCode.PERMISSION_DENIED
    assert await a_token(world, request_id="one") == await a_token(world, request_id="one")
    for wrong in ({"uses": -1}, {"uses": 10_001}, {"lifetime": Duration(nanos=1)}):
        error = await refusal(a_token(world, **wrong))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    unknown = world.node_service.RevokeJoinToken(
        pb.RevokeJoinTokenRequest(token_id="nothing"), metadata=ADMIN
    )
    assert (await refusal(unknown)).code() is grpc.StatusCode.NOT_FOUND


async def test_a_certificate_speaks_for_its_own_node_only(
    world: GatewayWorld, authority: Authority
) -> None:
    token, key, other_key = await a_token(world, uses=2), make_key(), make_key()
    certificate = await join(world, token, "fog-1", key)
    await join(world, token, "fog-2", other_key)
    async with agent_of(world, authority, key, certificate, "fog-2") as agent:
        await agent.hello()
        end = await agent.end()
    assert end.code is grpc.StatusCode.PERMISSION_DENIED
    assert an_id("fog-1") in end.details
    assert an_id("fog-2") in end.details
    # What the authority signed and the log doesn't know is nobody's.
    now_s = time.time()
    for name, stolen in (("fog-2", key), ("fog-3", key)):
        forged = authority.sign_node(make_request(stolen, name), an_id(name), 60, now_s)
        async with agent_of(world, authority, stolen, forged, name) as agent:
            await agent.hello()
            assert "another key, or not at all" in (await agent.end()).details
    # The fleet's bearer doesn't make up for it.
    async with scripted_agent(world.channel, "fog-1", token=AGENT_TOKEN) as agent:
        await agent.hello()
        assert "must show its certificate" in (await agent.end()).details


async def test_a_certificate_opens_nothing_that_is_for_users(
    world: GatewayWorld, authority: Authority
) -> None:
    key = make_key()
    certificate = await join(world, await a_token(world), "fog-1", key)
    async with open_channel(
        world.agent_address, credentials=credentials(authority, key, certificate)
    ) as channel:
        nodes: Any = NodeServiceStub(channel)
        agents: Any = agent_service_pb2_grpc.AgentServiceStub(channel)
        for call in (
            nodes.ListNodes(pb.ListNodesRequest()),
            nodes.ListNodes(pb.ListNodesRequest(), metadata=ADMIN),
            agents.Join(agent_service_pb2.JoinRequest()),
        ):
            error = await refusal(call)
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert from_rpc_error(error).reason == "NODE_CERTIFICATE"


async def test_a_removed_node_is_cut_off_and_stays_out(
    world: GatewayWorld, authority: Authority
) -> None:
    token, key = await a_token(world, uses=2), make_key()
    certificate = await join(world, token, "fog-1", key)
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.shake_hands()
        await world.node_service.RemoveNode(pb.RemoveNodeRequest(node="fog-1"), metadata=ADMIN)
        assert "was removed" in (await agent.end()).details
    async with (
        gateway_world(world.log_of, instance="two", authority=authority) as second,
        agent_of(second, authority, key, certificate, "fog-1") as agent,
    ):
        await agent.hello()
        assert "was removed" in (await agent.end()).details
    assert await reason(join(world, token, "fog-1", key)) == "NODE_REMOVED"


async def test_a_copy_is_refused_and_the_log_says_so_once(
    world: GatewayWorld, authority: Authority
) -> None:
    key = make_key()
    certificate = await join(world, await a_token(world), "fog-1", key)
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.shake_hands()
        for _ in range(2):
            async with agent_of(world, authority, key, certificate, "fog-1") as copy:
                await copy.hello()
                assert "is a copy" in (await copy.end()).details
        told = [
            event
            for each in range(1, world.fold.position + 1)
            for envelope in (await world.fold.commit(each)).envelopes
            if isinstance(event := envelope.event, ev.CopiedIdentityRefused)
        ]
        assert told == [ev.CopiedIdentityRefused(agent.node_id, 0, agent.epoch)]


async def test_a_certificate_is_renewed_over_the_stream(
    world: GatewayWorld, authority: Authority
) -> None:
    key = make_key()
    certificate = await join(world, await a_token(world), "fog-1", key)
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.shake_hands()
        await agent.say(
            certificate_renewal=agent_service_pb2.CertificateRenewal(
                certificate_request=make_request(key, "fog-1")
            )
        )
        renewed = (await agent.next("certificate")).certificate_pem
    assert renewed != certificate
    async with agent_of(world, authority, key, renewed, "fog-1") as agent:
        await agent.hello(last_epoch=world.fold.fleet.facts.nodes[agent.node_id].epoch)
        await agent.next("welcome")
        await agent.say(
            certificate_renewal=agent_service_pb2.CertificateRenewal(
                certificate_request=make_request(make_key(), "fog-1")
            )
        )
        await eventually(lambda: world.agents.count == 0, what="the end of the stream")


async def test_without_an_authority_there_are_no_tokens() -> None:
    async with gateway_world() as plain:
        assert await reason(a_token(plain)) == "NO_AUTHORITY"
