"""Health, metrics and the system's inside over HTTP. Open to all: probes have no token."""

from __future__ import annotations

from importlib.metadata import version
from platform import python_version
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from fogbank.domain.errors import NotFoundError, UnavailableError, UnimplementedError
from services.gateway.app.ports import LedgerStatus, SchedulerStatus
from services.gateway.app.system import OK, SystemStatus
from services.gateway.http_api.access import SIGNED_IN, address_of
from services.gateway.http_api.answers import (
    HealthAnswer,
    SchedulerAnswer,
    SystemAnswer,
    UnhealthyAnswer,
    errors,
)
from services.gateway.http_api.costly_answers import MetricsText
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.parameters import check_parameters
from services.gateway.http_api.rendering import instant, json_response

router = APIRouter(tags=["system"])

_UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": UnhealthyAnswer, "description": "Something needed is down."}
}
_VERSIONS = {"fogbank": version("fogbank"), "python": python_version()}
_MICROSECONDS = 1_000_000
_RETRY_AFTER_MS = 1000


@router.get(
    "/health",
    response_model=HealthAnswer,
    responses={**errors(), **_UNHEALTHY},
    operation_id="health",
)
@router.get(
    "/healthz",
    response_model=HealthAnswer,
    responses={**errors(), **_UNHEALTHY},
    operation_id="healthz",
)
async def health(request: Request) -> Response:
    """Tell whether log, scheduler and ledger answer."""
    return _judged(await used_by(request).system.health())


@router.get(
    "/readiness",
    response_model=HealthAnswer,
    responses={**errors(), **_UNHEALTHY},
    operation_id="readiness",
)
@router.get(
    "/readyz",
    response_model=HealthAnswer,
    responses={**errors(), **_UNHEALTHY},
    operation_id="readyz",
)
async def readiness(request: Request) -> Response:
    """Tell whether this gateway can serve."""
    uses = used_by(request)
    checks = dict(await uses.system.readiness())
    if uses.database_answers is not None:
        checks["database"] = OK if await uses.database_answers() else "out of reach"
    return _judged(checks)


@router.get("/livez", response_model=HealthAnswer, responses=errors(), operation_id="livez")
async def liveness() -> Response:
    """Tell that this process answers."""
    return json_response({"status": "healthy"})


@router.get(
    "/status",
    response_model=SchedulerAnswer,
    responses=errors(429, 503),
    operation_id="schedulerStatus",
)
async def scheduler_status(request: Request) -> Response:
    """Show what the scheduler did. No policy learns yet."""
    status = await _status(request)
    if status.scheduler is None:
        raise UnavailableError("The scheduler does not answer", retry_after_ms=_RETRY_AFTER_MS)
    return json_response(
        {
            "status": "running",
            "scheduled_pods": status.scheduler.placed_total,
            "failed_schedules": status.scheduler.failed_total,
            "training_episodes": 0,
            "epsilon": 0.0,
            "model_version": status.policy,
        }
    )


@router.get(
    "/api/v1/system/status",
    dependencies=[Depends(check_parameters)],
    response_model=SystemAnswer,
    responses=errors(429),
    operation_id="systemStatus",
)
async def system_status(request: Request) -> Response:
    """Show the queue, the leader, the ledger's lag and the agents of this gateway."""
    status = await _status(request)
    complete = status.scheduler is not None and status.ledger is not None
    return json_response(
        {
            "status": "running" if complete else "degraded",
            "queue": _queue(status),
            "scheduler": _leader(status.scheduler) if status.scheduler else None,
            "ledger": _ledger(status.ledger, status) if status.ledger else None,
            "log_sequence": status.log_sequence,
            "agents_connected": status.agents_connected,
            "policy": status.policy,
            "versions": _VERSIONS,
        }
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "All metrics of this gateway, in the format that Accept asks for.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        },
        **errors(404, 429),
    },
    operation_id="metrics",
)
async def metrics(request: Request) -> Response:
    """Show metrics for Prometheus, unless this gateway is set to show them elsewhere alone."""
    uses = used_by(request)
    if not uses.shows_metrics:
        raise NotFoundError("Metrics are not shown here")
    uses.identity.limits.anonymous(address_of(request))
    texts: MetricsText = request.app.state.metrics
    return await texts.answer(request)


@router.post("/training/trigger", include_in_schema=False, dependencies=[SIGNED_IN])
@router.post("/model/save", include_in_schema=False, dependencies=[SIGNED_IN])
@router.post("/model/load", include_in_schema=False, dependencies=[SIGNED_IN])
async def no_learned_policy() -> Response:
    """Answer that no policy learns yet."""
    raise UnimplementedError("There is no learned policy yet")


def _judged(checks: dict[str, str]) -> Response:
    if all(result == OK for result in checks.values()):
        return json_response({"status": "healthy"})
    return json_response({"status": "unhealthy", "checks": checks}, 503, {"Retry-After": "1"})


async def _status(request: Request) -> SystemStatus:
    """Return the status; counted by address, for each asks other services."""
    uses = used_by(request)
    uses.identity.limits.anonymous(address_of(request))
    return await uses.system.status()


def _queue(status: SystemStatus) -> dict[str, Any]:
    return {
        "depth": status.waiting,
        "total": sum(status.waiting.values()),
        "oldest_waiting_seconds": status.oldest_waiting_us / _MICROSECONDS,
    }


def _leader(status: SchedulerStatus) -> dict[str, Any]:
    return {
        "instance": status.instance,
        "leader": status.leader or None,
        "as_of_sequence": status.as_of_sequence,
        "rounds_accepted": status.rounds_accepted,
        "rounds_void": status.rounds_void,
        "nodes_heard": status.nodes_heard,
    }


def _ledger(ledger: LedgerStatus, status: SystemStatus) -> dict[str, Any]:
    scrub = ledger.scrub
    return {
        "as_of_sequence": ledger.as_of_sequence,
        "lag_commits": status.ledger_lag,
        "scrubbed_at": instant(scrub.ended_at_us) if scrub.ended_at_us else None,
        "scrub_findings": [f"{found.sequence}: {found.problem}" for found in scrub.findings],
    }
