"""Tokens of an organization's service accounts over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from services.gateway.app.service_accounts import ApiToken
from services.gateway.core.asks import MAX_REQUEST_ID
from services.gateway.core.service_accounts import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, Scope
from services.gateway.core.tenancy import MAX_NAME
from services.gateway.http_api.accepting import IdempotencyKey, request_id_of
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import Answer, errors
from services.gateway.http_api.bodies import Body, documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.organizations import NO_STORE
from services.gateway.http_api.paging import LISTED, OrganizationId, PageQuery, page_headers
from services.gateway.http_api.rendering import instant, json_response

router = APIRouter(prefix="/api/orgs/{organization_id}/tokens", tags=["tokens"])

_ScopeName = Literal["read", "deploy", "nodes", "audit", "admin"]
TokenId = Annotated[
    str, Path(min_length=1, max_length=36, description="The token's id, or the beginning of it.")
]


class TokenBody(Body):
    """A token to make; the service account is made unless there is one of the name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "ci", "scopes": ["deploy"], "expires_in_seconds": 7776000}]
        }
    )

    name: str = Field(
        description="The service account's name.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME},
    )
    scopes: list[_ScopeName] = Field(
        description="What it is for; administrators of the fleet alone give nodes and audit.",
        json_schema_extra={"minItems": 1},
    )
    expires_in_seconds: int | None = Field(
        default=None,
        description=f"How long it works; null for {DEFAULT_LIFETIME_S}.",
        json_schema_extra={"minimum": 1, "maximum": MAX_LIFETIME_S},
    )
    request_id: str = Field(
        "",
        description="Keeps a repeat from making another; the token isn't shown again.",
        json_schema_extra={"maxLength": MAX_REQUEST_ID},
    )


class TokenAnswer(Answer):
    """A token without its secret."""

    id: str
    account_id: str = Field(description="The service account, which owns what it deploys.")
    account: str
    organization_id: int
    scopes: list[_ScopeName]
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="To a minute; null for never.")
    revoked_at: datetime | None


class MadeTokenAnswer(TokenAnswer):
    """A token that was just made."""

    token: str = Field(description="For `Authorization: Bearer`; shown this once.")


@router.post(
    "",
    status_code=201,
    response_model=MadeTokenAnswer,
    responses=errors(401, 403, 404, 409, 413, 429, 503),
    openapi_extra=documented(TokenBody),
    operation_id="createToken",
)
async def create(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    body: Annotated[TokenBody, Depends(json_body(TokenBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Make a token of a service account; owners only. It is shown this once."""
    secret, made = await used_by(request).service_accounts.create(
        caller,
        organization_id,
        body.name,
        body.scopes,
        lifetime_s=body.expires_in_seconds,
        request_id=request_id_of(idempotency_key, body.request_id),
    )
    return json_response(_rendered(made) | {"token": secret}, 201, NO_STORE)


@router.get(
    "",
    response_model=list[TokenAnswer],
    responses={**LISTED, **errors(401, 403, 404, 429, 503)},
    operation_id="listTokens",
)
async def list_tokens(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    query: Annotated[PageQuery, Query()],
) -> Response:
    """List the organization's tokens, also those that work no more; owners only."""
    tokens = await used_by(request).service_accounts.list(caller, organization_id)
    page = tokens[query.offset : query.offset + query.limit]
    return json_response([_rendered(each) for each in page], headers=page_headers(len(tokens)))


@router.delete(
    "/{token_id}",
    status_code=204,
    response_class=Response,
    responses=errors(401, 403, 404, 429, 503),
    operation_id="revokeToken",
)
async def revoke(
    caller: Caller, request: Request, organization_id: OrganizationId, token_id: TokenId
) -> Response:
    """Let a token work no more at any gateway; owners only. What its account made stays."""
    await used_by(request).service_accounts.revoke(caller, organization_id, token_id)
    return Response(status_code=204)


def _rendered(token: ApiToken) -> dict[str, Any]:
    times = ("created_at", "expires_at", "last_used_at", "revoked_at")
    return {
        "id": token.id,
        "account_id": token.account_id,
        "account": token.account,
        "organization_id": token.organization.id,
        "scopes": [scope.value for scope in Scope if scope in token.scopes],
        "created_by": token.created_by,
        **{name: instant(us) if (us := getattr(token, f"{name}_us")) else None for name in times},
    }
