"""Accounts and sessions over HTTP; every path has two names."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.gateway.app.identity import Session
from services.gateway.http_api.access import Caller, address_of
from services.gateway.http_api.answers import SessionAnswer, UserAnswer, errors
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.models import LoginBody, RefreshBody, RegisterBody
from services.gateway.http_api.parameters import check_parameters
from services.gateway.http_api.rendering import json_response

# Most of them are open to strangers.
router = APIRouter(tags=["identity"], dependencies=[Depends(check_parameters)])

_NO_STORE = {"Cache-Control": "no-store"}


@router.post(
    "/api/users/register",
    status_code=201,
    response_model=UserAnswer,
    responses=errors(409, 413, 429, 503),
    openapi_extra=documented(RegisterBody),
    operation_id="registerUser",
)
@router.post(
    "/api/auth/register",
    status_code=201,
    response_model=UserAnswer,
    responses=errors(409, 413, 429, 503),
    openapi_extra=documented(RegisterBody),
    operation_id="register",
)
async def register(
    request: Request, body: Annotated[RegisterBody, Depends(json_body(RegisterBody))]
) -> Response:
    """Make an account."""
    identity, address = used_by(request).identity, address_of(request)
    identity.limits.anonymous(address)
    user = await identity.register(body.username, body.password, address)
    return json_response({"id": user.id, "username": user.username}, 201)


@router.post(
    "/api/users/login",
    response_model=SessionAnswer,
    responses=errors(401, 413, 429, 503),
    openapi_extra=documented(LoginBody),
    operation_id="loginUser",
)
@router.post(
    "/api/auth/login",
    response_model=SessionAnswer,
    responses=errors(401, 413, 429, 503),
    openapi_extra=documented(LoginBody),
    operation_id="login",
)
async def login(
    request: Request, body: Annotated[LoginBody, Depends(json_body(LoginBody))]
) -> Response:
    """Trade a name and password for tokens."""
    identity, address = used_by(request).identity, address_of(request)
    identity.limits.anonymous(address)
    return _session(await identity.login(body.username, body.password, address))


@router.post(
    "/api/users/refresh",
    response_model=SessionAnswer,
    responses=errors(401, 413, 429, 503),
    openapi_extra=documented(RefreshBody),
    operation_id="refreshUser",
)
@router.post(
    "/api/auth/refresh",
    response_model=SessionAnswer,
    responses=errors(401, 413, 429, 503),
    openapi_extra=documented(RefreshBody),
    operation_id="refresh",
)
async def refresh(
    request: Request, body: Annotated[RefreshBody, Depends(json_body(RefreshBody))]
) -> Response:
    """Trade a refresh token for new tokens; the old one is used up."""
    identity = used_by(request).identity
    identity.limits.anonymous(address_of(request))
    return _session(await identity.refresh(body.refresh_token))


@router.post(
    "/api/users/logout",
    status_code=204,
    response_class=Response,
    responses=errors(401, 403, 429, 503),
    operation_id="logoutUser",
)
@router.post(
    "/api/auth/logout",
    status_code=204,
    response_class=Response,
    responses=errors(401, 403, 429, 503),
    operation_id="logout",
)
async def logout(caller: Caller, request: Request) -> Response:
    """End the session of the token that this is asked with: all its tokens work no more."""
    await used_by(request).identity.logout(caller)
    return Response(status_code=204)


def _session(session: Session) -> Response:
    return json_response(
        {
            "access_token": session.access_token,
            "token_type": "bearer",
            "expires_in": session.expires_in_s,
            "refresh_token": session.refresh_token,
        },
        headers=_NO_STORE,
    )
