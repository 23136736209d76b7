"""Parameters in paths and queries, where everything comes as text.

pydantic alone reads more than is documented: 1.0, 1_000 and " 1 " as numbers, "on" and "y" as true.
And FastAPI refuses unknown ones only where a route takes some.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.requests import HTTPConnection

from fogbank.domain.errors import FieldViolation, InvalidArgumentError

_DIGITS = re.compile(r"-?[0-9]+")
_MOST_NAMED = 10
_LONGEST_NAME = 60


def _in_digits(given: object) -> object:
    if isinstance(given, str) and not _DIGITS.fullmatch(given):
        raise ValueError("must be written in digits")
    return given


def _true_or_false(given: object) -> object:
    if isinstance(given, str) and given not in {"true", "false"}:
        raise ValueError("must be true or false")
    return given


# Stands after the bounds: only then does the OpenAPI document name those.
IN_DIGITS = BeforeValidator(_in_digits)
Switch = Annotated[bool, BeforeValidator(_true_or_false)]


def check_parameters(request: Request) -> None:
    """Refuse parameters in a query that its documented route doesn't take.

    Raises:
        InvalidArgumentError: names them.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return  # mostly so
    known = _known(route)
    if known is not None:
        check_among(request, known)


def _known(route: APIRoute) -> frozenset[str] | None:
    """Return what a route takes in its query; None for one that is in no document."""
    if not route.include_in_schema:
        return None
    elsewhere = (params.Path, params.Header, params.Cookie)
    fields = get_flat_params(route.dependant)
    return frozenset(each.alias for each in fields if not isinstance(each.field_info, elsewhere))


def check_among(connection: HTTPConnection, known: Collection[str]) -> None:
    """Refuse parameters in a query other than some.

    Raises:
        InvalidArgumentError: names up to 10 of them.
    """
    names = [name for name in connection.query_params if name not in known][:_MOST_NAMED]
    if names:
        found = tuple(FieldViolation(_cut(name), "is not a known parameter") for name in names)
        text = "; ".join(f"{each.field}: {each.description}" for each in found)
        raise InvalidArgumentError(text, violations=found)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
