"""Deployments over HTTP, as the quick start guide has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.position import etag
from fogbank.domain.states import DeploymentStatus
from services.gateway.app.ports import DeploymentQuery, DeploymentSort
from services.gateway.core.asks import MAX_NAME, check_replicas, check_request_id, spec_of
from services.gateway.core.bounds import LARGEST_OFFSET, REST_BOUNDS
from services.gateway.http_api import explaining, rendering
from services.gateway.http_api.accepting import (
    DeploymentId,
    IdempotencyKey,
    IfMatch,
    accepted_response,
    expected_version,
    request_id_of,
)
from services.gateway.http_api.access import Caller
from services.gateway.http_api.answers import (
    CommandAnswer,
    ExplainAnswer,
    ImpossiblePlanAnswer,
    PlanAnswer,
    RowAnswer,
    Status,
    StatusAnswer,
    errors,
)
from services.gateway.http_api.bodies import documented, json_body
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.models import DeployBody, ScaleBody
from services.gateway.http_api.moments import DESCRIPTION as AS_OF
from services.gateway.http_api.moments import AsOf, moment_of
from services.gateway.http_api.parameters import IN_DIGITS
from services.gateway.http_api.wording import shown

router = APIRouter(prefix="/api/deployment", tags=["deployments"])

TRACK = "Use /status/{deployment_id} to track progress."
QUEUED = f"Deployment queued for scheduling. {TRACK}"


@router.post(
    "/deploy",
    status_code=202,
    response_model=CommandAnswer,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}}}},
        **errors(401, 403, 404, 409, 413, 429, 503),
    },
    openapi_extra=documented(DeployBody),
    operation_id="deploy",
)
async def deploy(
    caller: Caller,
    request: Request,
    body: Annotated[DeployBody, Depends(json_body(DeployBody))],
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Queue a deployment for scheduling. It is durable when this answers."""
    spec = spec_of(body.ask(), REST_BOUNDS)
    request_id = request_id_of(idempotency_key, body.request_id)
    accepted = await used_by(request).deployments.create(caller, spec, body.env, request_id)
    return accepted_response(accepted, "pending", QUEUED)


@router.get(
    "/status/{deployment_id}",
    response_model=StatusAnswer,
    response_model_exclude_unset=True,
    responses={
        200: {"headers": {"ETag": {"schema": {"type": "string"}}}},
        **errors(401, 404, 503),
    },
    operation_id="deploymentStatus",
)
async def status(
    caller: Caller, request: Request, deployment_id: DeploymentId, query: AsOf
) -> Response:
    """Show all about one deployment, deleted ones too; with `as_of` as it was then."""
    found = await used_by(request).deployments.get(
        caller, str(deployment_id), moment=moment_of(query.as_of)
    )
    view = found.value
    headers = {"ETag": f'"{etag(view.version)}"', "Cache-Control": "no-store"}
    return rendering.json_response(rendering.deployment_status(view), headers=headers)


def _no_number(given: object) -> object:
    """Refuse seconds since 1970, which pydantic takes for a time; nobody documented them."""
    try:
        float(str(given))
    except ValueError:
        return given
    raise ValueError("a number is no time")


Instant = Annotated[datetime, BeforeValidator(_no_number)]


class ListQuery(BaseModel):
    """Which deployments to list."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="Only these; without it all but deleted ones.")
    name: str = Field("", max_length=MAX_NAME, description="Only names that contain this.")
    created_after: Instant | None = Field(None, description="Inclusive; UTC without an offset.")
    created_before: Instant | None = Field(None, description="Inclusive; UTC without an offset.")
    sort_by: Literal["created_at", "name", "status"] = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Field(ge=1, le=100), IN_DIGITS] = 20
    offset: Annotated[int, Field(ge=0, le=LARGEST_OFFSET), IN_DIGITS] = 0
    as_of: str = Field("", description=AS_OF)

    def query(self) -> DeploymentQuery:
        """Return the question for the application layer."""
        if not self.name.isprintable():
            raise InvalidArgumentError.of_field(
                "name", f"must be printable, got {shown(self.name)}"
            )
        statuses: tuple[DeploymentStatus, ...] = ()
        if self.status is not None:
            statuses = (DeploymentStatus[self.status.upper()],)
        if DeploymentStatus.RUNNING in statuses:
            statuses = (*statuses, DeploymentStatus.DEGRADED)
        return DeploymentQuery(
            statuses=statuses,
            name_contains=self.name,
            created_after_us=max(0, _us(self.created_after)),
            # 0 stands for any, so an instant before all of them is the first after it.
            created_before_us=max(1, _us(self.created_before)) if self.created_before else 0,
            sort_by=DeploymentSort(self.sort_by),
            ascending=self.sort_order == "asc",
            limit=self.limit,
            offset=self.offset,
            moment=moment_of(self.as_of),
        )


@router.get(
    "/list",
    response_model=list[RowAnswer],
    responses={
        200: {"headers": {"X-Total-Count": {"schema": {"type": "integer"}}}},
        **errors(401, 503),
    },
    operation_id="listDeployments",
)
async def list_(caller: Caller, request: Request, query: Annotated[ListQuery, Query()]) -> Response:
    """List the caller's deployments; with `as_of` as they were then."""
    uses = used_by(request)
    page = (await uses.deployments.list(caller, query.query())).value
    uses.identity.limits.listed(caller, len(page.items))
    return rendering.json_response(
        [rendering.deployment_row(view) for view in page.items],
        headers={"X-Total-Count": str(page.total), "Cache-Control": "no-store"},
    )


@router.post(
    "/scale/{deployment_id}",
    status_code=202,
    response_model=CommandAnswer,
    responses=errors(401, 403, 404, 409, 412, 413, 429, 503),
    openapi_extra=documented(ScaleBody),
    operation_id="scaleDeployment",
)
async def scale(
    caller: Caller,
    request: Request,
    deployment_id: DeploymentId,
    body: Annotated[ScaleBody, Depends(json_body(ScaleBody))],
    *,
    idempotency_key: IdempotencyKey = "",
    if_match: IfMatch = "",
) -> Response:
    """Change the number of replicas."""
    check_replicas(body.replicas, REST_BOUNDS.replicas)
    accepted = await used_by(request).deployments.scale(
        caller,
        str(deployment_id),
        body.replicas,
        request_id_of(idempotency_key, body.request_id),
        expected_version(if_match),
    )
    view = used_by(request).deployments.show(caller, accepted.deployment_id)
    message = f"Scaling to {accepted.spec.replicas} replicas queued. {TRACK}"
    return accepted_response(accepted, rendering.status_word(view.status), message)


@router.delete(
    "/{deployment_id}",
    status_code=202,
    response_model=CommandAnswer,
    responses=errors(401, 403, 404, 409, 412, 429, 503),
    operation_id="deleteDeployment",
)
async def delete(
    caller: Caller,
    request: Request,
    deployment_id: DeploymentId,
    idempotency_key: IdempotencyKey = "",
    if_match: IfMatch = "",
) -> Response:
    """Delete a deployment and stop its replicas. Its status stays readable."""
    accepted = await used_by(request).deployments.delete(
        caller, str(deployment_id), idempotency_key, expected_version(if_match)
    )
    return accepted_response(accepted, "deleted", f"Deletion queued. {TRACK}")


@router.post(
    "/plan",
    response_model=PlanAnswer | ImpossiblePlanAnswer,
    responses=errors(401, 403, 404, 413, 503),
    openapi_extra=documented(DeployBody),
    operation_id="planDeployment",
)
async def plan(
    caller: Caller, request: Request, body: Annotated[DeployBody, Depends(json_body(DeployBody))]
) -> Response:
    """Say what a deployment would lead to: where it would be placed, or why not. A dry run."""
    spec = spec_of(body.ask(), REST_BOUNDS)
    check_request_id(body.request_id)
    planned = await used_by(request).planning.plan(caller, spec)
    return rendering.json_response(explaining.plan(planned), headers={"Cache-Control": "no-store"})


@router.get(
    "/explain/{deployment_id}",
    response_model=ExplainAnswer,
    responses=errors(401, 404, 503),
    operation_id="explainDeployment",
)
async def explain(caller: Caller, request: Request, deployment_id: DeploymentId) -> Response:
    """Say why a deployment is where it is, or what would let it be placed."""
    told = await used_by(request).planning.explain(caller, str(deployment_id))
    return rendering.json_response(
        explaining.deployment(str(deployment_id), told), headers={"Cache-Control": "no-store"}
    )


def _us(moment: datetime | None) -> int:
    if moment is None:
        return 0
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
