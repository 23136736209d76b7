"""The HTTP face, put together."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema

from services.gateway.http_api import (
    clusters,
    dashboard,
    deployments,
    errors,
    fleet,
    identity,
    jobs,
    live,
    organizations,
    system,
    tokens,
    updates,
)
from services.gateway.http_api.answer_examples import give_examples
from services.gateway.http_api.costly_answers import MetricsText, document_route
from services.gateway.http_api.dependencies import HttpDependencies
from services.gateway.http_api.errors import ErrorBody, Problem
from services.gateway.http_api.event_messages import EventMessages
from services.gateway.http_api.gatekeeper import Gatekeeper
from services.gateway.http_api.middleware import Boundary
from services.gateway.http_api.models import BODIES
from services.gateway.http_api.tenancy_models import TENANCY_BODIES
from services.gateway.http_api.update_models import UPDATE_BODIES

_DESCRIPTION = """Deploys containers onto a fleet of fog hosts.

Sign in at `/api/auth/login` and send the token as `Authorization: Bearer`. Errors are
`{"detail": "..."}`, or RFC 9457 problems when the Accept header names `application/problem+json`.
Times are UTC."""


def create_app(dependencies: HttpDependencies) -> FastAPI:
    """Return the ASGI app over the application layer."""
    # The page at /docs brings its own assets: operators' networks need not reach anybody else's.
    app = FastAPIOffline(
        title="Fogbank",
        version=version("fogbank"),
        description=_DESCRIPTION,
        redoc_url=None,
        static_url="/docs/assets",
        redirect_slashes=False,
        routes=[document_route()],
    )
    app.state.dependencies = dependencies
    app.state.max_body_bytes = dependencies.max_body_bytes
    app.state.client_patience_s = dependencies.client_patience_s
    app.state.metrics = MetricsText()
    app.state.present_fleet = fleet.PresentFleet(dependencies.nodes)
    app.state.event_messages = EventMessages(dependencies.events)
    errors.install(app)
    app.add_middleware(Gatekeeper, gate=dependencies.gate)
    app.add_middleware(Boundary)
    parts = (
        *(deployments, updates, jobs, identity, organizations, tokens, clusters),
        *(fleet, live, system, dashboard),
    )
    for part in parts:
        # Not `include_router`, which makes every route a second time, at the first request.
        app.router.routes.extend(part.router.routes)
    app.mount("/dashboard", dashboard.FILES)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _words(operation_id: str) -> str:
    """Return `listJobs` as `List jobs`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", operation_id).capitalize()


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        bodies = (*BODIES, *UPDATE_BODIES, *TENANCY_BODIES, tokens.TokenBody)
        documented = (*bodies, ErrorBody, Problem)
        models: Any = [(model, "validation") for model in documented]
        _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
        schemas.update(definitions["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                # Wrong input is 400 here.
                operation["responses"].pop("422", None)
                # Functions of several modules have the same name; operations do not.
                operation["summary"] = _words(operation["operationId"])
        give_examples(document)
        app.openapi_schema = document
    return app.openapi_schema
