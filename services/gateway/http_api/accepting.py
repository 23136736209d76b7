"""Commands on deployments: what comes with them, and how they are answered once accepted."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Header, Path
from starlette.responses import Response

from fogbank.domain.errors import AbortedError, InvalidArgumentError
from fogbank.domain.position import etag, parse_etag
from services.gateway.app.deployments import Accepted
from services.gateway.core.asks import check_request_id
from services.gateway.http_api import rendering
from services.gateway.http_api.wording import shown

DeploymentId = Annotated[UUID, Path(description="Deployment id.")]
IdempotencyKey = Annotated[
    str, Header(alias="Idempotency-Key", description="The same as `request_id` of the body.")
]
IfMatch = Annotated[
    str, Header(alias="If-Match", description="Refused with 412 unless it is the current ETag.")
]


def accepted_response(accepted: Accepted, status: str, message: str) -> Response:
    """Answer a command that was accepted."""
    content = {
        "success": True,
        "deployment_id": accepted.deployment_id,
        "status": status,
        "replicas": accepted.spec.replicas,
        "message": message,
    }
    headers = {
        "Location": f"/api/deployment/status/{accepted.deployment_id}",
        "ETag": f'"{etag(accepted.version)}"',
    }
    return rendering.json_response(content, 202, headers)


def request_id_of(header: str, body: str) -> str:
    """Return the request id that a header or a body names.

    Raises:
        InvalidArgumentError: they name different ones, or one that is no good.
    """
    if header and body and header != body:
        raise InvalidArgumentError.of_field(
            "Idempotency-Key",
            f"must be the same as request_id or absent, got {shown(header)} and {shown(body)}",
        )
    check_request_id(header or body)
    return header or body


def expected_version(if_match: str) -> int:
    """Return the version that If-Match names; 0 if any will do.

    Raises:
        AbortedError: it names none that ever was.
    """
    text = if_match.strip()
    if text in {"", "*"}:
        return 0
    version = parse_etag(text.strip('"')) if not text.startswith("W/") else None
    if version is None:
        raise AbortedError("If-Match is not an ETag of this deployment; read it again")
    return version
