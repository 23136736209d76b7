"""Numbers in paths, and parts of lists: which one is asked for, how many items there are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.core.bounds import LARGEST_OFFSET
from services.gateway.http_api.parameters import IN_DIGITS

_MOST = 1000
_DEFAULT = 100

# What a 64-bit field of the log's messages holds.
LARGEST_NUMBER = (1 << 63) - 1

OrganizationId = Annotated[
    int, Path(ge=1, le=LARGEST_NUMBER, description="Organization's number."), IN_DIGITS
]
ClusterId = Annotated[
    int, Path(ge=1, le=LARGEST_NUMBER, description="Cluster's number."), IN_DIGITS
]

# What the OpenAPI document says of an answer that is a list.
LISTED: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"X-Total-Count": {"schema": {"type": "integer"}}}}
}


class PageQuery(BaseModel):
    """Which part of a list to show."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=_MOST), IN_DIGITS] = _DEFAULT
    offset: Annotated[int, Field(ge=0, le=LARGEST_OFFSET), IN_DIGITS] = 0


def page_headers(total: int) -> dict[str, str]:
    """Return the headers of an answer that is a part of a list; nobody keeps it."""
    return {"X-Total-Count": str(total), "Cache-Control": "no-store"}
