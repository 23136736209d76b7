"""What a user is told when a service behind the gateway fails."""

from __future__ import annotations

import grpc
import grpc.aio

from fogbank.domain.errors import FogError, UnavailableError
from fogbank.runtime.grpc_errors import from_rpc_error

_RETRY_HINT_MS = 1_000

# A wrong token between services is an outage to the user, not a matter of their own token.
_OUTAGES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)

# An operator has to mend these: to try again helps nobody.
_TOLD_AS_THEY_ARE = frozenset({"LEDGER_COPY_DAMAGED", "LEDGER_REFUSES_LOG"})


def as_outage(error: grpc.aio.AioRpcError, service: str) -> FogError:
    """Return an error of another service: an outage of it where it is one, else as it was."""
    known = from_rpc_error(error)
    if error.code() not in _OUTAGES or known.reason in _TOLD_AS_THEY_ARE:
        return known
    return UnavailableError(
        f"the {service} does not answer; try again later",
        reason=f"{service.upper()}_UNAVAILABLE",
        retry_after_ms=known.retry_after_ms or _RETRY_HINT_MS,
    )
