"""Deployments of one replica over HTTP, in the words of the jobs face: /api/deployments."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.position import etag
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import UNLIMITED, MembershipRole
from fogbank.domain.views import DeploymentView
from services.gateway.app.ports import DeploymentQuery
from services.gateway.core.jobs import changed_job, check_change, job_bounds, job_spec
from services.gateway.http_api import tenancy_rendering as rendering
from services.gateway.http_api.accepting import (
    DeploymentId,
    IdempotencyKey,
    IfMatch,
    expected_version,
    request_id_of,
)
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import errors
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.paging import LARGEST_NUMBER, LISTED, PageQuery, page_headers
from services.gateway.http_api.parameters import IN_DIGITS
from services.gateway.http_api.rendering import json_response
from services.gateway.http_api.tenancy_models import JobAnswer, JobBody, JobChangeBody

router = APIRouter(prefix="/api/deployments", tags=["jobs"])

_ETAG = {"ETag": {"schema": {"type": "string"}}}


class JobQuery(PageQuery):
    """Which deployments to list."""

    cluster_id: Annotated[
        int, Field(ge=1, le=LARGEST_NUMBER, description="Only this cluster's."), IN_DIGITS
    ]


@router.post(
    "",
    status_code=202,
    response_model=JobAnswer,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}}, **_ETAG}},
        **errors(401, 403, 404, 409, 413, 429, 503),
    },
    openapi_extra=documented(JobBody),
    operation_id="createJob",
)
async def create(
    caller: Caller,
    request: Request,
    body: Annotated[JobBody, Depends(json_body(JobBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Queue a deployment of one replica in a cluster. It is durable when this answers."""
    uses = used_by(request)
    cluster = await uses.clusters.get(caller, body.cluster_id, MembershipRole.OPERATOR)
    spec = job_spec(body.fields_given(), cluster.id, job_bounds(cluster.quota, uses.bounds))
    accepted = await uses.deployments.create(
        caller, spec, request_id=request_id_of(idempotency_key, body.request_id)
    )
    view = uses.deployments.show(caller, accepted.deployment_id)
    # What was accepted waits, however soon a scheduler takes it up.
    queued = replace(view, status=DeploymentStatus.PENDING)
    return _job(queued, 202, Location=f"/api/deployments/{view.id}")


@router.get(
    "",
    response_model=list[JobAnswer],
    responses={**LISTED, **errors(401, 404, 503)},
    operation_id="listJobs",
)
async def list_(caller: Caller, request: Request, query: Annotated[JobQuery, Query()]) -> Response:
    """List the caller's own deployments in a cluster, newest first."""
    uses = used_by(request)
    await uses.clusters.get(caller, query.cluster_id)
    asked = DeploymentQuery(cluster_id=query.cluster_id, limit=query.limit, offset=query.offset)
    page = (await uses.deployments.list(caller, asked)).value
    uses.identity.limits.listed(caller, len(page.items))
    return json_response(
        [rendering.job(view) for view in page.items], headers=page_headers(page.total)
    )


@router.get(
    "/{deployment_id}",
    response_model=JobAnswer,
    responses={200: {"headers": _ETAG}, **errors(401, 404, 503)},
    operation_id="getJob",
)
async def get(caller: Caller, request: Request, deployment_id: DeploymentId) -> Response:
    """Show a deployment, deleted ones too."""
    return _job((await used_by(request).deployments.get(caller, str(deployment_id))).value)


@router.post(
    "/{deployment_id}",
    response_model=JobAnswer,
    responses={200: {"headers": _ETAG}, **errors(401, 403, 404, 409, 412, 413, 429, 503)},
    openapi_extra=documented(JobChangeBody),
    operation_id="updateJob",
)
async def update(
    caller: Caller,
    request: Request,
    deployment_id: DeploymentId,
    body: Annotated[JobChangeBody, Depends(json_body(JobChangeBody))],
    *,
    idempotency_key: IdempotencyKey = "",
    if_match: IfMatch = "",
) -> Response:
    """Change some fields of a deployment; its replica is replaced where that takes a new one.

    With another `cluster_id` it moves there: the new replica takes that cluster's quota, and the
    old one runs on in its own until the new one does.
    """
    uses = used_by(request)
    job = body.fields_given()
    check_change(job, job_bounds(UNLIMITED, uses.bounds))
    if job.cluster_id is not None:
        await uses.clusters.get(caller, job.cluster_id, MembershipRole.OPERATOR)

    def applied(spec: DeploymentSpec) -> DeploymentSpec:
        quota = uses.clusters.quota(job.cluster_id or spec.cluster_id)
        return changed_job(spec, job, job_bounds(quota, uses.bounds))

    accepted = await uses.updates.update(
        caller,
        str(deployment_id),
        applied,
        job.content,
        request_id=request_id_of(idempotency_key, body.request_id),
        expected_version=expected_version(if_match),
    )
    return _job(uses.deployments.show(caller, accepted.deployment_id))


def _job(view: DeploymentView, status: int = 200, **headers: str) -> Response:
    always = {"ETag": f'"{etag(view.version)}"', "Cache-Control": "no-store"}
    return json_response(rendering.job(view), status, always | headers)
