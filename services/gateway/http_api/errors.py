"""Errors as HTTP answers: one shape, one table, nothing of the inside."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fogbank.domain.errors import (
    FieldViolation,
    FogError,
    InvalidArgumentError,
    UnauthenticatedError,
)
from fogbank.runtime.error_table import outside
from services.gateway.http_api.wording import describe_parameters

_log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
INTERNAL = "Internal server error"


class TooLargeError(InvalidArgumentError):
    """A body of more bytes than are taken."""

    default_reason = "BODY_TOO_LARGE"

    @classmethod
    def of_limit(cls, limit_bytes: int, given: str) -> TooLargeError:
        """Say what the limit is and what was given."""
        description = f"must be at most {limit_bytes} bytes, got {given}"
        return cls(f"body: {description}", violations=(FieldViolation("body", description),))


class TooSlowError(InvalidArgumentError):
    """A body that does not come."""

    default_reason = "BODY_TOO_SLOW"

    @classmethod
    def of_limit(cls, limit_s: float) -> TooSlowError:
        """Say what the limit is."""
        description = f"must be sent within {limit_s:g} s"
        return cls(f"body: {description}", violations=(FieldViolation("body", description),))


class ErrorBody(BaseModel):
    """What every error answers with."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"detail": "Not authenticated"}]})

    detail: str = Field(description="What is wrong, for people.")


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    description: str


class Problem(BaseModel):
    """The same as RFC 9457 has it; only for those whose Accept header names it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reason: str = Field(description="A stable word for programs.")
    errors: list[FieldProblem] = Field(default=[], description="One for each wrong field.")
    sought: str = Field(
        default="", description="What isn't there, as `node/fog-9`; only of what was not found."
    )


def status_of(error: FogError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, TooLargeError):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value
    if isinstance(error, TooSlowError):
        return HTTPStatus.REQUEST_TIMEOUT.value
    return outside(error).http_status


def error_response(request: Request, error: FogError) -> Response:
    """Return the answer for an error of the domain."""
    status = status_of(error)
    headers = {}
    if isinstance(error, TooSlowError):
        headers["Connection"] = "close"  # for the rest of the body is still to come
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_ms is not None or status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }:
        headers["Retry-After"] = str(max(1, math.ceil((error.retry_after_ms or 1000) / 1000)))
    return _render(
        request,
        status,
        error.message,
        error.reason,
        violations=error.violations,
        sought=error.sought,
        headers=headers,
    )


def internal_response(request: Request) -> Response:
    """Return the answer for an error that nobody foresaw."""
    return _render(request, 500, INTERNAL, "INTERNAL")


def _render(
    request: Request,
    status: int,
    detail: str,
    reason: str,
    *,
    violations: tuple[FieldViolation, ...] = (),
    sought: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    if PROBLEM_JSON not in request.headers.get("accept", ""):
        content: dict[str, Any] = {"detail": detail}
        return Response(to_json(content), status, headers, "application/json")
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "reason": reason,
        "errors": [{"field": each.field, "description": each.description} for each in violations],
    }
    if sought:
        content["sought"] = sought
    return Response(to_json(content), status, headers, PROBLEM_JSON)


def _schemas(request: Request) -> dict[str, dict[str, Any]]:
    """Return the schemas of a route's parameters by their names, from the OpenAPI document."""
    route = request.scope.get("route")
    operations = request.app.openapi()["paths"].get(getattr(route, "path", ""), {})
    operation = operations.get(request.method.lower(), {})
    return {each["name"]: each["schema"] for each in operation.get("parameters", ())}


def install(app: FastAPI) -> None:
    """Let an app answer with these."""

    async def domain(request: Request, error: Exception) -> Response:
        assert isinstance(error, FogError)  # noqa: S101 (what it is registered for)
        return error_response(request, error)

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 (what it is registered for)
        return error_response(request, describe_parameters(error.errors(), _schemas(request)))

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
        headers = dict(error.headers or {})
        reason = HTTPStatus(error.status_code).name
        return _render(request, error.status_code, str(error.detail), reason, headers=headers)

    app.add_exception_handler(FogError, domain)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(HTTPException, routing)
