"""Clusters over HTTP: making and listing them, quotas, how much of one is used and by what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from services.gateway.app.ports import DeploymentQuery
from services.gateway.http_api import tenancy_rendering as rendering
from services.gateway.http_api.accepting import IdempotencyKey, request_id_of
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import errors
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.moments import DESCRIPTION as AS_OF
from services.gateway.http_api.moments import AsOf, moment_of
from services.gateway.http_api.paging import LISTED, ClusterId, PageQuery, page_headers
from services.gateway.http_api.rendering import json_response
from services.gateway.http_api.tenancy_models import (
    QUOTA_WORDS,
    ClusterAnswer,
    ClusterBody,
    ClusterStatusAnswer,
    JobAnswer,
    QuotaBody,
)

router = APIRouter(prefix="/api/clusters", tags=["clusters"])


@router.post(
    "",
    status_code=201,
    response_model=ClusterAnswer,
    responses=errors(401, 403, 404, 409, 413, 429, 503),
    openapi_extra=documented(ClusterBody),
    operation_id="createCluster",
)
async def create(
    caller: Caller,
    request: Request,
    body: Annotated[ClusterBody, Depends(json_body(ClusterBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Make a cluster, an organization's share of the fleet; owners and operators only."""
    made = await used_by(request).clusters.create(
        caller,
        body.organization_id,
        body.name,
        body.quota(),
        words=QUOTA_WORDS,
        request_id=request_id_of(idempotency_key, body.request_id),
    )
    return json_response(rendering.cluster(made), 201)


@router.get(
    "",
    response_model=list[ClusterAnswer],
    responses={**LISTED, **errors(401, 503)},
    operation_id="listClusters",
)
async def list_(caller: Caller, request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the clusters of the caller's organizations by number."""
    page = await used_by(request).clusters.list(caller, query.limit, query.offset)
    return json_response(
        [rendering.cluster(fact) for fact in page.items], headers=page_headers(page.total)
    )


@router.get(
    "/{cluster_id}/status",
    response_model=ClusterStatusAnswer,
    responses=errors(400, 401, 404, 503),
    operation_id="clusterStatus",
)
async def status(caller: Caller, request: Request, cluster_id: ClusterId, query: AsOf) -> Response:
    """Show how much of a cluster is used, to members of its organization.

    With `as_of` its quota, use and counts as they were then.
    """
    found = await used_by(request).clusters.status(caller, cluster_id, moment_of(query.as_of))
    return json_response(rendering.cluster_status(found), headers={"Cache-Control": "no-store"})


class PastPageQuery(PageQuery):
    """Which part of a list to show, and as of when."""

    as_of: str = Field("", description=AS_OF)


@router.get(
    "/{cluster_id}/deployments",
    response_model=list[JobAnswer],
    responses={**LISTED, **errors(400, 401, 404, 503)},
    operation_id="clusterDeployments",
)
async def deployments(
    caller: Caller,
    request: Request,
    cluster_id: ClusterId,
    query: Annotated[PastPageQuery, Query()],
) -> Response:
    """List all deployments of a cluster, newest first, to members of its organization.

    With `as_of` as they were then.
    """
    asked = DeploymentQuery(limit=query.limit, offset=query.offset, moment=moment_of(query.as_of))
    uses = used_by(request)
    page = (await uses.clusters.deployments(caller, cluster_id, asked)).value
    uses.identity.limits.listed(caller, len(page.items))
    return json_response(
        [rendering.job(view) for view in page.items], headers=page_headers(page.total)
    )


@router.put(
    "/{cluster_id}/quota",
    response_model=ClusterAnswer,
    responses=errors(401, 403, 404, 409, 413, 429, 503),
    openapi_extra=documented(QuotaBody),
    operation_id="setClusterQuota",
)
async def set_quota(
    caller: Caller,
    request: Request,
    cluster_id: ClusterId,
    body: Annotated[QuotaBody, Depends(json_body(QuotaBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Replace a cluster's whole quota; owners of its organization only."""
    changed = await used_by(request).clusters.set_quota(
        caller,
        cluster_id,
        body.quota(),
        words=QUOTA_WORDS,
        request_id=request_id_of(idempotency_key, body.request_id),
    )
    return json_response(rendering.cluster(changed))
