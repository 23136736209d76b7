"""Who gets in over gRPC: every method, by every kind of token that doesn't count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default

from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_server import GrpcServer
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.app.identity import Identity
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.principal import Principal
from services.gateway.core.bounds import GRPC_BOUNDS
from services.gateway.grpc_api.authentication import Authenticate
from services.gateway.grpc_api.server import SERVICE_NAMES, GrpcDependencies, add_to_server
from tests.support.bad_tokens import OTHER_KINDS, QUICK_KINDS, bad_tokens
from tests.support.rest_face import MemoryAccounts

SECRET = "another-honest-secret-of-over-32-bytes"
# To get a user's token, and to join as an agent.
OPEN = {
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
        clock_us=clock.now_us,
        refresh_lifetime_s=3600,
    )
    # All of them come from one address.
    limits = Limits(clock.now_us, Allowance(1_000_000, 1_000_000, 1_000_000))
    server = GrpcServer(SERVICE_NAMES, interceptors=[Authenticate(identity, limits)])
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


async def code_of(channel: grpc.aio.Channel, method: MethodDescriptor, token: str) -> str:
    """Call a method with an empty request and return how it ended."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    kind = f"{'stream' if method.client_streaming else 'unary'}_"
    kind += "stream" if method.server_streaming else "unary"
    call = getattr(channel, kind)(path)
    request = iter([b""]) if method.client_streaming else b""
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
