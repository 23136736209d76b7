"""Who is calling: the bearer token of a request or a WebSocket."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from fogbank.domain.errors import UnauthenticatedError
from services.gateway.app.identity import Identity
from services.gateway.app.principal import Principal

# Browsers can't send headers with a WebSocket; they offer this protocol and the token as another.
WEBSOCKET_PROTOCOL = "bearer"

_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="bearer",
    description="The access token of `/api/auth/login`.",
)


async def _caller(
    connection: HTTPConnection,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)],
) -> Principal:
    if credentials is None:
        raise UnauthenticatedError("Not authenticated")
    identity: Identity = connection.app.state.dependencies.identity
    return identity.authenticate(credentials.credentials)


# For routes that only need somebody to be signed in.
SIGNED_IN = Depends(_caller)
# The signed-in user; without a valid token the answer is 401.
Caller = Annotated[Principal, SIGNED_IN]


def websocket_caller(connection: HTTPConnection, identity: Identity) -> Principal:
    """Return who opens a WebSocket: by header, or by the protocols `bearer, <token>`."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        offered = connection.headers.get("sec-websocket-protocol", "")
        protocols = [each.strip() for each in offered.split(",")]
        token = ""
        if protocols[0] == WEBSOCKET_PROTOCOL and len(protocols) > 1:
            token = protocols[1]
    return identity.authenticate(token.strip())
