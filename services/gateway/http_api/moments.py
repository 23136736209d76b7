"""Past moments as callers name them: `?as_of=1234` or `?as_of=2031-04-05T06:07:08Z`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.views import Moment
from services.gateway.core.whole_numbers import whole_number
from services.gateway.http_api.wording import shown

DESCRIPTION = (
    "As it was then: after the commit of this log sequence, or at this time (ISO 8601; UTC without "
    "an offset). Without it as it is now."
)


class MomentQuery(BaseModel):
    """As of when to show something."""

    model_config = ConfigDict(extra="forbid")

    as_of: str = Field("", description=DESCRIPTION)


AsOf = Annotated[MomentQuery, Query()]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(text: str) -> Moment | None:
    """Return the moment that a text names; None for an empty one.

    Raises:
        InvalidArgumentError: it names none.
    """
    if not text:
        return None
    sequence = whole_number(text)
    if sequence:
        return Moment(sequence=sequence)
    if sequence is None:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = _EPOCH
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        time_us = (aware - _EPOCH) // timedelta(microseconds=1)
        if time_us > 0:
            return Moment(time_us=time_us)
    raise InvalidArgumentError.of_field(
        "as_of",
        "must be a log sequence, 1 or more, or a time such as 2031-04-05T06:07:08Z, "
        f"got {shown(text)}",
    )
