"""Errors to `google.rpc.Status` and back, so that a reason survives the way between services."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError
from grpc_status import rpc_status

from fogbank.domain.errors import FieldViolation, FogError
from fogbank.runtime.error_table import kind_of, outside

DOMAIN = "fogbank"
INTERNAL_MESSAGE = "Internal server error"
DETAILS_KEY = "grpc-status-details-bin"


def to_status(error: FogError) -> status_pb2.Status:
    """Return an error as the status that clients get.

    Details: ErrorInfo (reason, domain `fogbank`), BadRequest for wrong fields, ResourceInfo for
    what isn't there, RetryInfo where another try makes sense.
    """
    details = [_any(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(
                field=violation.field, description=violation.description
            )
        details.append(_any(bad_request))
    if error.sought:
        kind, _, name = error.sought.partition("/")
        details.append(_any(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)))
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(_any(retry))
    code: int = outside(error).grpc_code.value[0]
    return status_pb2.Status(code=code, message=error.message, details=details)


def internal_status() -> status_pb2.Status:
    """Return what clients get for an error that nobody foresaw: nothing of its inside."""
    details = [_any(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))]
    return status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_MESSAGE, details=details)


def from_rpc_error(error: AioRpcError) -> FogError:
    """Return what a call to another service raised as the error that was raised there."""
    code = error.code()
    reason: str | None = None
    violations: tuple[FieldViolation, ...] = ()
    retry_after_ms: int | None = None
    sought = ""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # the details contradict the code: somebody between us rewrote one of them
        status = None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        missing = error_details_pb2.ResourceInfo()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason = info.reason
        elif detail.Unpack(bad_request):
            violations = tuple(
                FieldViolation(found.field, found.description)
                for found in bad_request.field_violations
            )
        elif detail.Unpack(missing):
            sought = f"{missing.resource_type}/{missing.resource_name}"
        elif detail.Unpack(retry):
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    if code is StatusCode.UNAVAILABLE and retry_after_ms is None:
        retry_after_ms = 1_000
    return kind_of(code)(
        error.details() or code.name,
        reason=reason or code.name,
        violations=violations,
        retry_after_ms=retry_after_ms,
        sought=sought,
    )


def _any(message: object) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
