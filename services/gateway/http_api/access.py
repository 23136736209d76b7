"""Who is calling: the bearer token of a request or a WebSocket."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from services.gateway.app.identity import Identity
from services.gateway.app.principal import Principal, set_current_principal
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.parameters import check_parameters
from services.gateway.http_api.scopes import scope_of

# Browsers can't send headers with a WebSocket; they offer this protocol and the token as another.
WEBSOCKET_PROTOCOL = "bearer"

# Clients poll these, by GET; the past is folded again, and isn't polled.
_NEVER_LIMITED = frozenset(
    {"/api/deployment/status/{deployment_id}", "/api/deployments/{deployment_id}"}
)


class _Caller(HTTPBearer):
    """Reads the token; being a security scheme, it also stands in the OpenAPI document."""

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = ""
        principal = await _admitted(request, used_by(request).identity, token)
        check_parameters(request)
        return principal


_caller = _Caller(
    scheme_name="bearer",
    description="The access token of `/api/auth/login`, or a service account's token.",
)

# For routes that only need somebody to be signed in.
SIGNED_IN = Security(_caller)
# The signed-in user; without a valid token the answer is 401.
Caller = Annotated[Principal, SIGNED_IN]


async def websocket_caller(connection: HTTPConnection, identity: Identity) -> Principal:
    """Return who opens a WebSocket: by header, or by the protocols `bearer, <token>`."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        offered = connection.headers.get("sec-websocket-protocol", "")
        protocols = [each.strip() for each in offered.split(",")]
        token = ""
        if protocols[0] == WEBSOCKET_PROTOCOL and len(protocols) > 1:
            token = protocols[1]
    return await _admitted(connection, identity, token)


def address_of(connection: HTTPConnection) -> str:
    """Return where a request comes from; empty if that isn't known."""
    return connection.client.host if connection.client else ""


async def _admitted(connection: HTTPConnection, identity: Identity, token: str) -> Principal:
    """Return who is calling, unless it is too often."""
    route = getattr(connection.scope.get("route"), "path", "")
    method = connection.scope.get("method", "WEBSOCKET")
    polled = method == "GET" and route in _NEVER_LIMITED and "as_of" not in connection.query_params
    principal = await identity.admit(
        token.strip(), address_of(connection), scope_of(method, route), counted=not polled
    )
    # A request is handled in the task that admits it.
    set_current_principal(principal)
    return principal
