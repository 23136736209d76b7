"""Reading JSON bodies: bounded, strict, validated once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from fogbank.domain.errors import InvalidArgumentError
from services.gateway.http_api.errors import TooLargeError, TooSlowError
from services.gateway.http_api.wording import describe_body, shown

M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """A request body: no unknown fields, no guessing of types."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def examples(*values: dict[str, Any]) -> ConfigDict:
    """Return what a model's configuration says of examples, for the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


def json_body(model: type[M], *, required: bool = True) -> Callable[[Request], Awaitable[M]]:
    """Return a dependency that reads a request's body as `model`; none stands for an empty one.

    With `required` there must be a body.

    Raises:
        TooLargeError: more bytes than the app takes.
        TooSlowError: it takes longer than the app waits.
        InvalidArgumentError: it isn't JSON, or not what the model wants.
    """

    async def read(request: Request) -> M:
        _check_content_type(request)
        state = request.app.state
        try:
            async with asyncio.timeout(state.client_patience_s):
                data = await _read(request, state.max_body_bytes)
        except TimeoutError:
            raise TooSlowError.of_limit(state.client_patience_s) from None
        try:
            return model.model_validate_json(data if data or required else b"{}")
        except ValidationError as error:
            raise describe_body(error, model) from None

    return read


def documented(model: type[Body], *, required: bool = True) -> dict[str, Any]:
    """Return what the OpenAPI document says of a route with this body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }


def _check_content_type(request: Request) -> None:
    given = request.headers.get("content-type")
    if given is None:
        return
    kind, *parameters = (part.strip().lower() for part in given.split(";"))
    json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not json:
        raise InvalidArgumentError.of_field(
            "Content-Type", f"must be application/json, got {shown(given)}"
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8", "us-ascii"}:
            raise InvalidArgumentError.of_field(
                "Content-Type", f"must have the charset utf-8, got {shown(given)}"
            )


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLargeError.of_limit(limit, f"{declared[:20]} bytes")
    chunks = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLargeError.of_limit(limit, "more")
            chunks.append(chunk)
    except ClientDisconnect:
        raise InvalidArgumentError.of_field("body", "must be sent whole") from None
    return b"".join(chunks)
