"""Who gets in over gRPC: every method, by tokens that don't count and by nodes' certificates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from grpc_channelz.v1 import channelz_pb2

from fogbank.codec.values import fingerprint_to_pb
from fogbank.runtime.certificates import Authority, make_key, make_request
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc, node_service_pb2
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.app.identity import Identity
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.principal import Principal, Role
from services.gateway.core.bounds import GRPC_BOUNDS
from services.gateway.grpc_api.authentication import Authenticate
from services.gateway.grpc_api.server import SERVICE_NAMES, GrpcDependencies, add_to_server
from tests.support.bad_tokens import OTHER_KINDS, QUICK_KINDS, bad_tokens
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.gateway import GatewayWorld, gateway_world, signed_in
from tests.support.rest_face import MemoryAccounts

SECRET = "another-honest-secret-of-over-32-bytes"
# To know what answers, to get a user's token, and to join as an agent.
OPEN = {
    "SystemService.GetVersion",
    "IdentityService.Register",
    "IdentityService.Login",
    "IdentityService.RefreshToken",
    "AgentService.Join",
}
# Agents show a certificate or a token of their own: a user's doesn't count.
OF_AGENTS = {"AgentService.Connect", "AgentService.Serve"}


def methods() -> dict[str, MethodDescriptor]:
    """Return every method of the face by service and name."""
    pool = Default()
    return {
        f"{service.name}.{method.name}": method
        for service in map(pool.FindServiceByName, SERVICE_NAMES)
        for method in service.methods
    }


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A face with nothing behind it: who gets past the door fails in another way."""
    clock, nothing = SystemClock(), cast("Any", None)
    tokens = JwtAccessTokens(SigningKey(SECRET), 1800)
    identity = Identity(
        *(nothing, nothing, nothing, tokens, MemoryAccounts()),
        clock=clock,
        refresh_lifetime_s=3600,
        # All of them come from one address.
        limits=Limits(clock, Allowance(1_000_000, 1_000_000, 1_000_000)),
    )
    server = GrpcServer(SERVICE_NAMES, interceptors=[Authenticate(identity)])
    behind = dict.fromkeys(GrpcDependencies.__dataclass_fields__, nothing) | {
        "identity": identity,
        "subject_prefix": "fog.test",
        "agent_token": "a-token-of-agents",
        "bounds": GRPC_BOUNDS,
    }
    add_to_server(GrpcDependencies(**behind), server.grpc)
    port = await server.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as open_channel:
            yield open_channel
    finally:
        await server.stop(0)


async def code_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, token: str = "", first: bytes = b""
) -> str:
    """Call a method with one message, empty as a rule, and return how it ended."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    kind = f"{'stream' if method.client_streaming else 'unary'}_"
    kind += "stream" if method.server_streaming else "unary"
    call = getattr(channel, kind)(path)
    request = iter([first]) if method.client_streaming else first
    made = call(request, metadata=metadata, timeout=60)
    return str((await made.code()).name)


def test_every_open_method_is_there() -> None:
    assert methods().keys() >= OPEN | OF_AGENTS
    assert len(methods()) > 40


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("kinds", [QUICK_KINDS, pytest.param(OTHER_KINDS, marks=pytest.mark.slow)])
async def test_every_method_asks_for_a_good_token(
    channel: grpc.aio.Channel, kinds: tuple[str, ...]
) -> None:
    user = Principal("11111111-1111-4111-8111-111111111111")
    issued = JwtAccessTokens(SigningKey(SECRET), 1800)
    tokens = bad_tokens(issued.issue(user, SystemClock().now_us()), SECRET)
    for name, method in methods().items():
        if name in OPEN:
            continue
        for what in kinds:
            assert await code_of(channel, method, tokens[what]) == "UNAUTHENTICATED", (name, what)
        # Past the door there is little here that could answer. Who signs out needs another token.
        good = issued.issue(user, SystemClock().now_us())
        refused = await code_of(channel, method, good) == "UNAUTHENTICATED"
        assert refused == (name in OF_AGENTS), name


async def test_administrators_alone_see_who_is_connected(channel: grpc.aio.Channel) -> None:
    issued = JwtAccessTokens(SigningKey(SECRET), 1800)
    codes: dict[Role, set[str]] = {}
    service: Any = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    for role in Role:
        caller = Principal("11111111-1111-4111-8111-111111111111", role)
        token = issued.issue(caller, SystemClock().now_us())
        for method in service.methods:
            codes.setdefault(role, set()).add(await code_of(channel, method, token))
    assert codes[Role.USER] == {"PERMISSION_DENIED"}
    assert codes[Role.ADMIN] <= {"OK", "NOT_FOUND"}


@asynccontextmanager
async def showing(
    world: GatewayWorld, authority: Authority, key: str, certificate: str
) -> AsyncIterator[grpc.aio.Channel]:
    """Come to the agents' door with a certificate."""
    shown = grpc.ssl_channel_credentials(
        authority.certificate_pem.encode(), key.encode(), certificate.encode()
    )
    async with open_channel(world.agent_address, credentials=shown) as channel:
        yield channel


async def test_a_nodes_certificate_opens_its_own_nodes_calls_and_nothing_else(
    tmp_path: Path,
) -> None:
    authority = Authority.of_folder(tmp_path, "default")
    async with gateway_world(authority=authority) as world:
        key, certificate = await joined_node(world, "node A")
        async with showing(world, authority, key, certificate) as channel:
            for name, method in methods().items():
                if name in OF_AGENTS:
                    # It got in, and what it says makes no sense.
                    assert await code_of(channel, method) == "INVALID_ARGUMENT", name
                    continue
                for token in ("", "alice", "admin"):
                    assert await code_of(channel, method, token) == "PERMISSION_DENIED", name
            await joined_node(world, "node B")
            hello = agent_service_pb2.Hello(
                node_id=an_id("node B"), name="B", fingerprint=fingerprint_to_pb(a_fingerprint())
            )
            first = agent_service_pb2.ConnectRequest(hello=hello).SerializeToString()
            connect = methods()["AgentService.Connect"]
            assert await code_of(channel, connect, first=first) == "PERMISSION_DENIED"
        service_key, service = authority.issue("scheduler", ["127.0.0.1"], 3_600, time.time())
        async with showing(world, authority, service_key, service) as channel:
            for name, method in methods().items():
                assert await code_of(channel, method, "admin") == "PERMISSION_DENIED", name


async def joined_node(world: GatewayWorld, name: str) -> tuple[str, str]:
    """Have a node join; return its key and certificate."""
    token = await world.node_service.CreateJoinToken(
        node_service_pb2.CreateJoinTokenRequest(), metadata=signed_in("admin")
    )
    key = make_key()
    request = agent_service_pb2.JoinRequest(
        token=token.token, node_id=an_id(name), certificate_request=make_request(key, name)
    )
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
    return key, str((await stub.Join(request)).certificate_pem)
