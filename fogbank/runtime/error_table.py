"""Each kind of error and what it is called outside, over gRPC and over HTTP. The one table."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode

from fogbank.domain import errors
from fogbank.domain.errors import FogError


@dataclass(frozen=True, slots=True)
class Outside:
    """A kind of error's code over gRPC and over HTTP."""

    grpc_code: StatusCode
    http_status: int


TABLE: dict[type[FogError], Outside] = {
    errors.InvalidArgumentError: Outside(StatusCode.INVALID_ARGUMENT, 400),
    errors.OutOfRangeError: Outside(StatusCode.OUT_OF_RANGE, 400),
    errors.UnauthenticatedError: Outside(StatusCode.UNAUTHENTICATED, 401),
    errors.PermissionDeniedError: Outside(StatusCode.PERMISSION_DENIED, 403),
    errors.NotFoundError: Outside(StatusCode.NOT_FOUND, 404),
    errors.AlreadyExistsError: Outside(StatusCode.ALREADY_EXISTS, 409),
    errors.AbortedError: Outside(StatusCode.ABORTED, 412),
    errors.FailedPreconditionError: Outside(StatusCode.FAILED_PRECONDITION, 409),
    errors.ResourceExhaustedError: Outside(StatusCode.RESOURCE_EXHAUSTED, 429),
    FogError: Outside(StatusCode.INTERNAL, 500),
    errors.UnimplementedError: Outside(StatusCode.UNIMPLEMENTED, 501),
    errors.UnavailableError: Outside(StatusCode.UNAVAILABLE, 503),
    errors.DeadlineExceededError: Outside(StatusCode.DEADLINE_EXCEEDED, 504),
}

_BY_CODE = {outside.grpc_code: kind for kind, outside in TABLE.items()}


def outside(error: FogError) -> Outside:
    """Return the codes of an error; a subclass has those of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return TABLE[FogError]


def kind_of(code: StatusCode) -> type[FogError]:
    """Return the kind of error that a gRPC code stands for; FogError for those of no kind."""
    return _BY_CODE.get(code, FogError)
