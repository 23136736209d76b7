"""TokenService: service accounts and their tokens."""

from __future__ import annotations

from typing import Any

import grpc.aio

from fogbank.domain.errors import InvalidArgumentError
from fogbank.v1 import token_service_pb2 as pb
from fogbank.v1 import token_service_pb2_grpc
from services.gateway.app.principal import current_principal
from services.gateway.app.service_accounts import ApiToken, ServiceAccounts
from services.gateway.core.service_accounts import Scope
from services.gateway.grpc_api.paging import page_offset, page_size, page_token

Context = grpc.aio.ServicerContext[Any, Any]

_PREFIX = "TOKEN_SCOPE_"


class TokenService(token_service_pb2_grpc.TokenServiceServicer):
    """Messages to use cases and back."""

    def __init__(self, accounts: ServiceAccounts) -> None:
        self._accounts = accounts

    async def CreateToken(
        self, request: pb.CreateTokenRequest, context: Context
    ) -> pb.CreateTokenResponse:
        """Make a token."""
        lifetime_s: float | None = None
        if request.HasField("lifetime"):
            lifetime_s = request.lifetime.seconds + request.lifetime.nanos / 1e9
        secret, made = await self._accounts.create(
            current_principal(),
            request.organization_id,
            request.name,
            [_word(number) for number in request.scopes],
            lifetime_s=lifetime_s,
            request_id=request.request_id,
        )
        return pb.CreateTokenResponse(secret=secret, token=_to_pb(made))

    async def ListTokens(
        self, request: pb.ListTokensRequest, context: Context
    ) -> pb.ListTokensResponse:
        """List an organization's tokens."""
        limit, query = page_size(request.page_size), b"tokens %d" % request.organization_id
        offset = page_offset(request.page_token, query)
        tokens = await self._accounts.list(current_principal(), request.organization_id)
        page, after = tokens[offset : offset + limit], offset + limit
        return pb.ListTokensResponse(
            tokens=[_to_pb(each) for each in page],
            next_page_token=page_token(after, query) if after < len(tokens) else "",
            total_size=len(tokens),
        )

    async def RevokeToken(
        self, request: pb.RevokeTokenRequest, context: Context
    ) -> pb.RevokeTokenResponse:
        """Revoke a token."""
        revoked = await self._accounts.revoke(
            current_principal(), request.organization_id, request.token_id
        )
        return pb.RevokeTokenResponse(token=_to_pb(revoked))


def _word(number: int) -> str:
    try:
        return pb.TokenScope.Name(pb.TokenScope.ValueType(number)).removeprefix(_PREFIX).lower()
    except ValueError:
        names = [f"{_PREFIX}{scope.name}" for scope in Scope]
        raise InvalidArgumentError.of_field(
            "scopes", f"must be some of {names}, got {number}"
        ) from None


def _to_pb(token: ApiToken) -> pb.ApiToken:
    message = pb.ApiToken(
        id=token.id,
        account_id=token.account_id,
        account=token.account,
        organization_id=token.organization.id,
        scopes=[
            pb.TokenScope.Value(f"{_PREFIX}{scope.name}")
            for scope in Scope
            if scope in token.scopes
        ],
        created_by=token.created_by,
    )
    for name in ("created_at", "expires_at", "last_used_at", "revoked_at"):
        if instant_us := getattr(token, f"{name}_us"):
            getattr(message, name).FromMicroseconds(instant_us)
    return message
