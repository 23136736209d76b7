"""Organizations over HTTP: making and joining them, members, invite codes, quotas."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from fogbank.domain.tenancy import UNLIMITED, MembershipRole
from services.gateway.http_api import tenancy_rendering as rendering
from services.gateway.http_api.accepting import IdempotencyKey, request_id_of
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import errors
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.paging import LISTED, OrganizationId, PageQuery, page_headers
from services.gateway.http_api.rendering import json_response
from services.gateway.http_api.tenancy_models import (
    QUOTA_WORDS,
    InviteAnswer,
    InviteBody,
    JoinBody,
    MemberAnswer,
    OrganizationAnswer,
    OrganizationBody,
    QuotaAnswer,
    QuotaBody,
    RoleBody,
)

router = APIRouter(prefix="/api/orgs", tags=["organizations"])

# Codes are secrets: nobody between keeps them.
NO_STORE = {"Cache-Control": "no-store"}
_CHANGES = (401, 403, 404, 409, 413, 429, 503)

Member = Annotated[str, Path(description="The member's id or name.")]


@router.post(
    "/create",
    status_code=201,
    response_model=OrganizationAnswer,
    response_model_exclude_unset=True,
    responses=errors(401, 403, 409, 413, 429, 503),
    openapi_extra=documented(OrganizationBody),
    operation_id="createOrganization",
)
async def create(
    caller: Caller,
    request: Request,
    body: Annotated[OrganizationBody, Depends(json_body(OrganizationBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Make an organization. The caller owns it; others join by its invite code."""
    made = await used_by(request).organizations.create(
        caller, body.name, request_id_of(idempotency_key, body.request_id)
    )
    return json_response(rendering.organization(made), 201, NO_STORE)


@router.post(
    "/join",
    response_model=OrganizationAnswer,
    response_model_exclude_unset=True,
    responses=errors(401, 403, 404, 409, 413, 429, 503),
    openapi_extra=documented(JoinBody),
    operation_id="joinOrganization",
)
async def join(
    caller: Caller,
    request: Request,
    body: Annotated[JoinBody, Depends(json_body(JoinBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Join an organization by its invite code. A member stays what they are."""
    joined = await used_by(request).organizations.join(
        caller, body.invite_code, request_id_of(idempotency_key, body.request_id)
    )
    return json_response(rendering.organization(joined), headers=NO_STORE)


@router.get(
    "/all",
    response_model=list[OrganizationAnswer],
    response_model_exclude_unset=True,
    responses={**LISTED, **errors(401, 503)},
    operation_id="listOrganizations",
)
async def all_(caller: Caller, request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List all organizations by number; invite codes only to their owners."""
    page = await used_by(request).organizations.list(caller, query.limit, query.offset)
    return json_response(
        [rendering.organization(view) for view in page.items],
        headers=page_headers(page.total),
    )


@router.get(
    "/my",
    response_model=list[OrganizationAnswer],
    response_model_exclude_unset=True,
    responses={**LISTED, **errors(401, 503)},
    operation_id="listMyOrganizations",
)
async def mine(caller: Caller, request: Request) -> Response:
    """List the caller's organizations by number; that of everybody is among them."""
    views = await used_by(request).organizations.mine(caller)
    return json_response(
        [rendering.organization(view) for view in views],
        headers=page_headers(len(views)),
    )


@router.get(
    "/{organization_id}/members",
    response_model=list[MemberAnswer],
    responses={**LISTED, **errors(401, 404, 503)},
    operation_id="listMembers",
)
async def members(caller: Caller, request: Request, organization_id: OrganizationId) -> Response:
    """List an organization's members, for members: owners first."""
    views = await used_by(request).organizations.members(caller, organization_id)
    return json_response(
        [rendering.member(view) for view in views], headers=page_headers(len(views))
    )


@router.put(
    "/{organization_id}/members/{user}",
    response_model=MemberAnswer,
    responses=errors(*_CHANGES),
    openapi_extra=documented(RoleBody),
    operation_id="setMemberRole",
)
async def set_role(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    user: Member,
    body: Annotated[RoleBody, Depends(json_body(RoleBody))],
    *,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Give a member another role; owners only."""
    member = await used_by(request).organizations.set_role(
        caller,
        organization_id,
        user,
        MembershipRole[body.role.upper()],
        request_id_of(idempotency_key, body.request_id),
    )
    return json_response(rendering.member(member))


@router.delete(
    "/{organization_id}/members/{user}",
    status_code=204,
    response_class=Response,
    responses=errors(*_CHANGES),
    operation_id="removeMember",
)
async def remove_member(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    user: Member,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Remove a member, who may be the caller; of others owners only. The code is replaced then."""
    await used_by(request).organizations.remove_member(
        caller, organization_id, user, idempotency_key
    )
    return Response(status_code=204)


@router.get(
    "/{organization_id}/invite",
    response_model=InviteAnswer,
    responses=errors(401, 403, 404, 503),
    operation_id="getInviteCode",
)
async def invite(caller: Caller, request: Request, organization_id: OrganizationId) -> Response:
    """Show the invite code and its limits; owners only."""
    found = await used_by(request).organizations.invite(caller, organization_id)
    return json_response(rendering.invite(found), headers=NO_STORE)


@router.post(
    "/{organization_id}/invite",
    response_model=InviteAnswer,
    responses=errors(*_CHANGES),
    openapi_extra=documented(InviteBody),
    operation_id="renewInviteCode",
)
async def renew_invite(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    body: Annotated[InviteBody, Depends(json_body(InviteBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Replace the invite code; its predecessor works no more. Owners only."""
    renewed = await used_by(request).organizations.renew_invite(
        caller,
        organization_id,
        lifetime_s=body.expires_in_seconds,
        max_uses=body.max_uses,
        role=MembershipRole[body.role.upper()],
        request_id=request_id_of(idempotency_key, body.request_id),
    )
    return json_response(rendering.invite(renewed), headers=NO_STORE)


@router.delete(
    "/{organization_id}/invite",
    status_code=204,
    response_class=Response,
    responses=errors(*_CHANGES),
    operation_id="revokeInviteCode",
)
async def revoke_invite(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Revoke the invite code: nobody joins by it until it is renewed. Owners only."""
    await used_by(request).organizations.revoke_invite(caller, organization_id, idempotency_key)
    return Response(status_code=204)


@router.get(
    "/{organization_id}/quota",
    response_model=QuotaAnswer,
    responses=errors(401, 404, 503),
    operation_id="getOrganizationQuota",
)
async def quota(caller: Caller, request: Request, organization_id: OrganizationId) -> Response:
    """Show the quota of all of an organization's clusters together, to members."""
    found = await used_by(request).organizations.quota(caller, organization_id)
    return json_response(rendering.organization_quota(organization_id, found))


@router.put(
    "/{organization_id}/quota",
    response_model=QuotaAnswer,
    responses=errors(*_CHANGES),
    openapi_extra=documented(QuotaBody),
    operation_id="setOrganizationQuota",
)
async def set_quota(
    caller: Caller,
    request: Request,
    organization_id: OrganizationId,
    body: Annotated[QuotaBody, Depends(json_body(QuotaBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Set the quota of all of an organization's clusters together; administrators only."""
    changed = await used_by(request).organizations.set_quota(
        caller,
        organization_id,
        body.quota(),
        words=QUOTA_WORDS,
        request_id=request_id_of(idempotency_key, body.request_id),
    )
    return json_response(rendering.organization_quota(changed.id, changed.quota or UNLIMITED))
