"""Joining by token over real TLS: who gets a certificate, and for whom it speaks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from fogbank.codec import encode_commit, encode_envelope
from fogbank.codec.registry import BY_DOMAIN
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import UnauthenticatedError
from fogbank.domain.facts import KNOWN_EVENT_US
from fogbank.domain.join_tokens import JoinToken
from fogbank.runtime.certificates import Authority, Certificate, Identity, make_key, make_request
from fogbank.runtime.clock import ManualClock, SystemClock
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc, replica_service_pb2
from fogbank.v1 import node_service_pb2 as pb
from services.gateway.app.limits import Allowance
from services.gateway.core.hello import Hello
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.gateway import AGENT_TOKEN, GatewayWorld, gateway_world, refusal, signed_in
from tests.support.named_users import ALICE
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


async def a_day_passes(world: GatewayWorld) -> None:
    """Append a commit of so late that ids of commands before it are forgotten."""
    late_us = world.fold.fleet.facts.log_time_us + KNOWN_EVENT_US + 1
    unseen = EventEnvelope(
        an_id("late"), ev.NodeUncordoned(an_id("nowhere")), "fleet", "system", late_us
    )
    sequence = await world.log.append(encode_commit(late_us, [encode_envelope(unseen)]))
    await world.fold.reached(sequence)


async def test_a_repeated_request_gets_its_token_unless_that_was_revoked(
    world: GatewayWorld,
) -> None:
    first = await a_token(world, request_id="one")
    known = world.fold.fleet.facts.join_tokens[JoinToken.parse(first).id]
    ends_us = known.expires_at_us
    assert await a_token(world, request_id="one") == first
    await a_day_passes(world)
    assert await a_token(world, request_id="one") == first
    assert known.expires_at_us == ends_us
    assert await reason(a_token(world, request_id="one", uses=2)) == "REQUEST_ID_REUSED"
    await world.node_service.RevokeJoinToken(
        pb.RevokeJoinTokenRequest(token_id=known.id), metadata=ADMIN
    )
    assert await reason(a_token(world, request_id="one")) == "TOKEN_REVOKED"
    await a_day_passes(world)
    assert await reason(a_token(world, request_id="one")) == "TOKEN_REVOKED"
    assert await reason(join(world, first, "fog-1", make_key())) == "TOKEN_REVOKED"


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


async def test_a_node_that_never_connected_is_found_and_removed(
    world: GatewayWorld, authority: Authority
) -> None:
    token, key, node_id = await a_token(world, uses=2), make_key(), an_id("fog-1")
    certificate = await join(world, token, "fog-1", key)

    async def waiting() -> list[str]:
        request = pb.ListJoinTokensRequest()
        (listed,) = (await world.node_service.ListJoinTokens(request, metadata=ADMIN)).tokens
        return list(listed.waiting_node_ids)

    assert await waiting() == [node_id]
    removal = pb.RemoveNodeRequest(node=node_id, request_id="once")
    for _ in range(2):  # a repeat gets the first one's answer
        await world.node_service.RemoveNode(removal, metadata=ADMIN)
    assert await waiting() == []
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.hello()
        assert "was removed" in (await agent.end()).details
    assert await reason(join(world, token, "fog-1", key)) == "NODE_REMOVED"
    again = world.node_service.RemoveNode(pb.RemoveNodeRequest(node=node_id), metadata=ADMIN)
    assert (await refusal(again)).code() is grpc.StatusCode.NOT_FOUND
    other = await join(world, token, "fog-2", key)
    async with agent_of(world, authority, key, other, "fog-2") as agent:
        await agent.shake_hands()
        assert await waiting() == []


async def test_a_joined_node_keeps_its_name_while_it_is_offline_until_it_is_removed(
    world: GatewayWorld, authority: Authority
) -> None:
    token, key = await a_token(world, uses=2), make_key()
    first = await join(world, token, "fog-1", key)
    second = await join(world, token, "fog-2", key)
    async with agent_of(world, authority, key, first, "fog-1") as agent:
        await agent.shake_hands()
    await world.scheduler.offline(agent.node_id)

    async with agent_of(world, authority, key, second, "fog-2") as other:
        await other.hello(name="fog-1")
        assert f"fog nodes remove {agent.node_id}" in (await other.end()).details

    removal = pb.RemoveNodeRequest(node=agent.node_id)
    await world.node_service.RemoveNode(removal, metadata=ADMIN)
    async with agent_of(world, authority, key, second, "fog-2") as other:
        await other.shake_hands(name="fog-1")


async def test_a_copy_is_refused_and_the_log_says_so_once(
    world: GatewayWorld, authority: Authority
) -> None:
    key = make_key()
    certificate = await join(world, await a_token(world), "fog-1", key)
    async with agent_of(world, authority, key, certificate, "fog-1") as agent:
        await agent.shake_hands()
        for remembered in range(3):
            async with agent_of(world, authority, key, certificate, "fog-1") as copy:
                await copy.hello(last_epoch=remembered)
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


async def test_a_stream_ends_with_its_certificate_unless_that_is_renewed(
    authority: Authority,
) -> None:
    clock, key = ManualClock(SystemClock().now_us()), make_key()
    async with gateway_world(authority=authority, clock=clock) as world:
        certificate = await join(world, await a_token(world), "fog-1", key)
        shown = credentials(authority, key, certificate)
        async with open_channel(world.agent_address, credentials=shown) as channel:
            async with scripted_agent(channel, "fog-1", token="") as agent:
                await agent.shake_hands()
                clock.advance(1_800)
                renewal = agent_service_pb2.CertificateRenewal(
                    certificate_request=make_request(key, "fog-1")
                )
                await agent.say(certificate_renewal=renewal)
                await agent.next("certificate")
                clock.advance(2_400)
                await agent.report()
                clock.advance(1_800)
                await agent.send_report(agent.last_report + 1)
                end = await agent.end()
            assert end.code is grpc.StatusCode.UNAUTHENTICATED
            assert "has ended" in end.details
            # The connection that TLS looked at once lets nobody in later.
            async with scripted_agent(channel, "fog-1", token="") as again:
                await again.hello(last_epoch=agent.epoch)
                assert (await again.end()).details == end.details


async def test_a_stream_on_which_nothing_is_said_ends_with_its_certificate_too(
    world: GatewayWorld,
) -> None:
    hello = Hello(an_id("fog-1"), "fog-1", 0, 0, a_fingerprint())
    ends_at_us = SystemClock().now_us() + 50_000
    async with world.agents.session(hello, ends_at_us) as session:
        with pytest.raises(UnauthenticatedError, match="has ended"):
            async for _ in session.messages():
                pass


async def test_an_errand_is_brought_back_by_the_node_that_was_sent(
    world: GatewayWorld, authority: Authority
) -> None:
    token, keys = await a_token(world, uses=2), {"fog-1": make_key(), "fog-2": make_key()}
    certificates = {name: await join(world, token, name, keys[name]) for name in keys}
    spec = replace(a_spec(), container_image="nginx")
    async with agent_of(world, authority, keys["fog-1"], certificates["fog-1"], "fog-1") as agent:
        await agent.shake_hands()
        deployment_id = (await world.deployments.create(ALICE, spec, {})).deployment_id
        await world.scheduler.place(deployment_id, agent.node_id)
        await agent.assigned()
        request = replica_service_pb2.ReadLogsRequest(deployment_id=deployment_id)
        reading = world.replica_service.ReadLogs(request, metadata=signed_in("alice"))
        errand_id = (await agent.next("errand")).errand_id
        assert await reason(_serve(world.channel, errand_id, AGENT_TOKEN)) == "CERTIFICATE_REQUIRED"
        for name in ("fog-2", "fog-1"):
            shown = credentials(authority, keys[name], certificates[name])
            async with open_channel(world.agent_address, credentials=shown) as channel:
                if name == "fog-2":
                    assert await reason(_serve(channel, errand_id)) == "OTHER_NODE"
                else:
                    await _serve(channel, errand_id)
        assert [piece.data async for piece in reading] == [b"line"]


async def _serve(channel: grpc.aio.Channel, errand_id: str, token: str = "") -> None:
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(channel)
    brought = [
        agent_service_pb2.ServeRequest(errand_id=errand_id),
        agent_service_pb2.ServeRequest(output=b"line"),
    ]
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    await stub.Serve(iter(brought), metadata=metadata)


async def test_joins_are_counted_by_address(authority: Authority) -> None:
    few = Allowance(anonymous_requests_per_second=1)
    clock = ManualClock(SystemClock().now_us())
    async with gateway_world(authority=authority, clock=clock, allowance=few) as world:
        tried = [await reason(join(world, "nonsense", "fog-1", make_key())) for _ in range(3)]
        assert tried == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "RATE_LIMITED"]
        token = await a_token(world)
        error = from_rpc_error(await refusal(join(world, token, "fog-1", make_key())))
        assert error.retry_after_ms == 1_000
        clock.advance(1)
        await join(world, token, "fog-1", make_key())


async def test_without_an_authority_there_are_no_tokens() -> None:
    async with gateway_world() as plain:
        error = await refusal(a_token(plain))
    assert from_rpc_error(error).reason == "NO_AUTHORITY"
    assert "start it with FOG_CA_DIR" in (error.details() or "")
