"""Updates over HTTP: changing deployments, following their rollouts, going back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.errors import InvalidArgumentError
from services.gateway.core.asks import check_revision, spec_of
from services.gateway.core.bounds import REST_BOUNDS
from services.gateway.http_api import rendering
from services.gateway.http_api.accepting import (
    DeploymentId,
    IdempotencyKey,
    IfMatch,
    accepted_response,
    expected_version,
    request_id_of,
)
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import CommandAnswer, RolloutAnswer, errors
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.update_models import RollbackBody, UpdateBody

router = APIRouter(prefix="/api/deployment", tags=["deployments"])

_TRACK = "Use /rollout/{deployment_id} to track progress."


@router.post(
    "/update/{deployment_id}",
    status_code=202,
    response_model=CommandAnswer,
    responses=errors(401, 403, 404, 409, 412, 413, 429, 503),
    openapi_extra=documented(UpdateBody),
    operation_id="updateDeployment",
)
async def update(
    caller: Caller,
    request: Request,
    deployment_id: DeploymentId,
    body: Annotated[UpdateBody, Depends(json_body(UpdateBody))],
    *,
    idempotency_key: IdempotencyKey = "",
    if_match: IfMatch = "",
) -> Response:
    """Change a deployment; replicas are replaced step by step where that takes new ones."""
    if body.changes_nothing:
        raise InvalidArgumentError.of_field("body", "must name what to change")

    def applied(spec: DeploymentSpec) -> DeploymentSpec:
        return spec_of(body.ask(spec), REST_BOUNDS.keeping(spec))

    # A body that is no good is that whatever the version is.
    applied((await used_by(request).deployments.own(caller, str(deployment_id))).spec)
    accepted = await used_by(request).updates.update(
        caller,
        str(deployment_id),
        applied,
        body.content,
        env=body.env if "env" in body.model_fields_set else None,
        request_id=request_id_of(idempotency_key, body.request_id),
        expected_version=expected_version(if_match),
    )
    view = used_by(request).deployments.show(caller, accepted.deployment_id)
    status = rendering.status_word(view.status)
    return accepted_response(accepted, status, f"Update queued. {_TRACK}")


@router.get(
    "/rollout/{deployment_id}",
    response_model=RolloutAnswer,
    responses=errors(401, 404, 503),
    operation_id="deploymentRollout",
)
async def rollout(caller: Caller, request: Request, deployment_id: DeploymentId) -> Response:
    """Say how far the replacement of replicas is, and show the revisions that are kept."""
    view = await used_by(request).updates.rollout(caller, str(deployment_id))
    return rendering.json_response(rendering.rollout(view), headers={"Cache-Control": "no-store"})


@router.post(
    "/rollback/{deployment_id}",
    status_code=202,
    response_model=CommandAnswer,
    responses=errors(401, 403, 404, 409, 412, 413, 429, 503),
    openapi_extra=documented(RollbackBody, required=False),
    operation_id="rollbackDeployment",
)
async def rollback(
    caller: Caller,
    request: Request,
    deployment_id: DeploymentId,
    body: Annotated[RollbackBody, Depends(json_body(RollbackBody, required=False))],
    *,
    idempotency_key: IdempotencyKey = "",
    if_match: IfMatch = "",
) -> Response:
    """Make replicas what they were in an earlier revision, as an update."""
    check_revision(body.to_revision)
    accepted = await used_by(request).updates.undo(
        caller,
        str(deployment_id),
        body.to_revision,
        request_id_of(idempotency_key, body.request_id),
        expected_version(if_match),
    )
    view = used_by(request).deployments.show(caller, accepted.deployment_id)
    status = rendering.status_word(view.status)
    return accepted_response(accepted, status, f"Rollback queued. {_TRACK}")
