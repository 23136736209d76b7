"""What it means that a node can't join, and what to do about it."""

from __future__ import annotations

from fogbank.domain.errors import FailedPreconditionError, FogError, UnauthenticatedError
from fogbank.domain.verdict import VoidReason

MAKE_ANOTHER = "make another with `fog nodes token`"
_REFUSALS = {
    VoidReason.JOIN_UNKNOWN: ("the join token is not one of this fleet", "TOKEN_UNKNOWN"),
    VoidReason.JOIN_REVOKED: ("the join token was revoked", "TOKEN_REVOKED"),
    VoidReason.JOIN_EXPIRED: ("the join token has expired", "TOKEN_EXPIRED"),
    VoidReason.JOIN_USED_UP: ("the join token is used up", "TOKEN_USED_UP"),
}


def removed(node_id: str, name: str = "") -> FailedPreconditionError:
    """Return the error for a node that comes back after it was removed."""
    who = f"{name} ({node_id})" if name else node_id
    return FailedPreconditionError(
        f"node {who} was removed from the fleet; to let this host back in, give its agent an "
        "empty data folder",
        reason="NODE_REMOVED",
    )


def join_refusal(why: VoidReason, node_id: str) -> FogError:
    """Return the error for a node that can't join, with what to do about it."""
    if why is VoidReason.NODE_REMOVED:
        return removed(node_id)
    if why is VoidReason.OTHER_KEY:
        return FailedPreconditionError(
            f"node {node_id} has another key: this is a copy of it, or its key was lost; give this "
            "agent an empty data folder",
            reason="OTHER_KEY",
        )
    text, reason = _REFUSALS.get(why, (f"the log refused it: {why}", "VOID"))
    return UnauthenticatedError(f"{text}: {MAKE_ANOTHER}", reason=reason)
