"""IdentityService over a real gRPC connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1 import identity_service_pb2_grpc as rpc
from services.gateway.adapters.passwords import Argon2Passwords
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.app.identity import Identity
from services.gateway.grpc_api.authentication import Authenticate
from services.gateway.grpc_api.identity_service import IdentityService
from tests.support.rest_face import CHEAP, SECRET, MemoryAccounts

USER = {"username": "ambesh4", "password": "ambesh"}


@pytest.fixture
async def stub() -> AsyncIterator[rpc.IdentityServiceAsyncStub]:
    accounts, passwords = MemoryAccounts(), Argon2Passwords(CHEAP)
    identity = Identity(
        accounts,
        accounts,
        passwords,
        JwtAccessTokens(SigningKey(SECRET), 1800),
        accounts,
        clock=SystemClock(),
        refresh_lifetime_s=3600,
    )
    server = GrpcServer(["fogbank.v1.IdentityService"], interceptors=[Authenticate(identity)])
    rpc.add_IdentityServiceServicer_to_server(
        IdentityService(identity, cast("Any", None), cast("Any", None)), server.grpc
    )
    await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield rpc.IdentityServiceStub(channel)
    await server.stop(0)
    passwords.close()


async def test_register_login_refresh(stub: rpc.IdentityServiceAsyncStub) -> None:
    made = await stub.Register(pb.RegisterRequest(**USER))
    assert made.username == "ambesh4"
    session = (await stub.Login(pb.LoginRequest(**USER))).tokens
    assert session.expires_in.ToSeconds() == 1800
    request = pb.RefreshTokenRequest(refresh_token=session.refresh_token)
    renewed = (await stub.RefreshToken(request)).tokens
    assert renewed.refresh_token != session.refresh_token
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.RefreshToken(request)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(refusal.value).reason == "REFRESH_TOKEN_REUSED"


async def test_who_signs_out_has_no_use_of_any_token(stub: rpc.IdentityServiceAsyncStub) -> None:
    await stub.Register(pb.RegisterRequest(**USER))
    first, other = [(await stub.Login(pb.LoginRequest(**USER))).tokens for _ in range(2)]
    trade = pb.RefreshTokenRequest(refresh_token=first.refresh_token)
    second = (await stub.RefreshToken(trade)).tokens

    async def logout(token: str) -> str:
        call = stub.Logout(pb.LogoutRequest(), metadata=(("authorization", f"Bearer {token}"),))
        return str((await call.code()).name)

    assert await logout(second.access_token) == "OK"
    # Those that the session had before as well.
    assert await logout(first.access_token) == "UNAUTHENTICATED"
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=second.refresh_token))
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert await logout(other.access_token) == "OK"


async def test_refusals_carry_reasons_and_fields(stub: rpc.IdentityServiceAsyncStub) -> None:
    await stub.Register(pb.RegisterRequest(**USER))
    outcomes = await asyncio.gather(
        stub.Register(pb.RegisterRequest(**USER)),
        stub.Register(pb.RegisterRequest(username="ab", password="ambesh")),
        stub.Login(pb.LoginRequest(username="ambesh4", password="another")),
        return_exceptions=True,
    )
    errors = []
    for outcome in outcomes:
        assert isinstance(outcome, grpc.aio.AioRpcError)
        errors.append(from_rpc_error(outcome))
    assert [error.reason for error in errors] == [
        "USERNAME_TAKEN",
        "INVALID_ARGUMENT",
        "WRONG_CREDENTIALS",
    ]
    assert [violation.field for violation in errors[1].violations] == ["username"]


async def test_organizations_and_clusters_need_a_sign_in(
    stub: rpc.IdentityServiceAsyncStub,
) -> None:
    for call in (
        stub.ListOrganizations(pb.ListOrganizationsRequest()),
        stub.CreateOrganization(pb.CreateOrganizationRequest(name="ours")),
        stub.ListClusters(pb.ListClustersRequest()),
        stub.CreateCluster(pb.CreateClusterRequest(name="edge", organization_id=1)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
