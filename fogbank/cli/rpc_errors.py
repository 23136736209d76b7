"""Errors of calls, for people: the server's words, the wrong fields, what to do next."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fogbank.cli.failures import CommandError

_HINTS = {
    grpc.StatusCode.UNAUTHENTICATED: "sign in with `fog login`, or give a token in FOG_TOKEN",
    grpc.StatusCode.PERMISSION_DENIED: "sign in as an administrator with `fog login`",
    grpc.StatusCode.NOT_FOUND: "`fog ps` and `fog nodes` list what there is",
    grpc.StatusCode.ABORTED: "somebody else changed it; look at it with `fog status` and try again",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "try again in a while",
    grpc.StatusCode.DEADLINE_EXCEEDED: "it may have been done all the same; `fog ps` shows it",
    grpc.StatusCode.UNIMPLEMENTED: "the server doesn't have this yet",
}


def explain(error: grpc.RpcError) -> CommandError:
    """Return what to tell the user about a failed call."""
    code: grpc.StatusCode = error.code()
    message: str = error.details() or code.name
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(message)
    violations = [
        f"{violation.field}: {violation.description}"
        for violation in _violations(error)
        if violation.description not in message
    ]
    if violations:
        message = "\n".join([message, *(f"     {line}" for line in violations)])
    return CommandError(message, hint=_HINTS.get(code, ""))


def _unavailable(message: str) -> CommandError:
    from fogbank.cli.connection import described_target, is_secure, remembered_in
    from fogbank.runtime.tls_errors import tls_advice

    if advice := tls_advice(message):
        return CommandError(f"no safe connection to {described_target()}", hint=advice)
    if "socket closed" in message.lower() and not is_secure():
        return CommandError(
            f"{described_target()} hangs up: it may speak TLS only",
            hint="name its ca.crt in FOG_CA, or give it to `fog login --ca`",
        )
    if "connect" in message.lower() or "resolv" in message.lower():
        hint = "start the system with `fog up`, or say where it is in FOG_ADDR"
        if remembered_in():
            hint = (
                f"`fog login` remembers it: start that system, say where another one is in "
                f"FOG_ADDR, or forget it: rm {remembered_in()}"
            )
        return CommandError(f"no answer from {described_target()}", hint=hint)
    return CommandError(message, hint="try again in a moment; `fog logs gateway` may say why")


def _violations(
    error: grpc.RpcError,
) -> list[error_details_pb2.BadRequest.FieldViolation]:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it is a Call too
    except ValueError:
        return []
    if status is None:
        return []
    found: list[error_details_pb2.BadRequest.FieldViolation] = []
    for detail in status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            found += bad_request.field_violations
    return found
