"""How nodes join: what may be asked for, the events of it, and what each refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fogbank.domain import events as ev
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from fogbank.domain.facts import Facts
from fogbank.domain.ids import command_event_id
from fogbank.domain.join_rules import JoinTokenFact
from services.gateway.core.commands import content_digest
from services.gateway.core.join_refusals import MAKE_ANOTHER, removed

CREATE_TOKEN = "CreateJoinToken"  # noqa: S105 (a method's name)
REVOKE_TOKEN = "RevokeJoinToken"  # noqa: S105
JOIN = "Join"

MAX_USES = 10_000
MIN_LIFETIME_MS = 1_000
DEFAULT_LIFETIME_MS = 3_600_000
MAX_LIFETIME_MS = 30 * 24 * 3_600_000


def check_uses(uses: int) -> int:
    """Return how often a token may be used, 1 for 0; InvalidArgumentError if out of bounds."""
    if not 0 <= uses <= MAX_USES:
        raise InvalidArgumentError.of_field("uses", f"must be 0 (for 1) to {MAX_USES}, got {uses}")
    return uses or 1


def check_lifetime(lifetime_ms: int | None) -> int:
    """Return how long a token lasts in milliseconds, an hour for None.

    Raises:
        InvalidArgumentError: it isn't from a second to 30 days.
    """
    if lifetime_ms is None:
        return DEFAULT_LIFETIME_MS
    if not MIN_LIFETIME_MS <= lifetime_ms <= MAX_LIFETIME_MS:
        raise InvalidArgumentError.of_field(
            "lifetime",
            f"must be between 1 and {MAX_LIFETIME_MS // 1000} s, got {lifetime_ms / 1000:g} s",
        )
    return lifetime_ms


def token_envelope(
    user_id: str,
    method: str,
    request_id: str,
    event: ev.JoinTokenCreated | ev.JoinTokenRevoked,
    *,
    content: Mapping[str, Any],
    now_us: int,
) -> EventEnvelope:
    """Return the event of a command on tokens; `content` is what the caller asked for."""
    event_id = command_event_id(user_id, method, request_id)
    token_id = event.token_id if isinstance(event, ev.JoinTokenRevoked) else event_id
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"token/{token_id}",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(method, content)),
    )


def join_envelope(event: ev.NodeJoined, now_us: int) -> EventEnvelope:
    """Return the event of a join; the same node, key and token make the same event."""
    event_id = command_event_id(event.token_id, JOIN, f"{event.node_id}\n{event.key_digest.hex()}")
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"node/{event.node_id}",
        actor=f"node/{event.node_id}",
        occurred_at_us=now_us,
    )


def copy_envelope(event: ev.CopiedIdentityRefused, now_us: int) -> EventEnvelope:
    """Return the event of a copy that was turned away; one for each epoch that a node confirmed.

    What the copy says of itself has no part in its id, or it could fill the log with other words.
    """
    event_id = command_event_id(event.node_id, "CopiedIdentity", str(event.confirmed_epoch))
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"node/{event.node_id}",
        actor=f"node/{event.node_id}",
        occurred_at_us=now_us,
    )


def token_not_found() -> NotFoundError:
    """Return the error for a token that isn't there."""
    return NotFoundError("Join token not found", reason="TOKEN_NOT_FOUND")


def revoked_since(token_id: str) -> FailedPreconditionError:
    """Return the error for a repeat of the request that made a token, once that is revoked."""
    return FailedPreconditionError(
        f"request_id was used before: it made join token {token_id}, which was revoked since; "
        "use a new one",
        reason="TOKEN_REVOKED",
    )


def find_token(facts: Facts, id_or_beginning: str) -> JoinTokenFact:
    """Return the token of this id, or the only one whose id begins so.

    Raises:
        NotFoundError: there is none, or more than one.
    """
    found = [
        token
        for token in facts.join_tokens.values()
        if id_or_beginning and token.id.startswith(id_or_beginning.lower())
    ]
    if len(found) != 1:
        raise token_not_found()
    return found[0]


def never_connected(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Return the ids of nodes that joined and have not connected, by the token they came with."""
    waiting: dict[str, tuple[str, ...]] = {}
    for node_id, identity in facts.identities.items():
        if node_id not in facts.nodes and not identity.revoked:
            waiting[identity.token_id] = (*waiting.get(identity.token_id, ()), node_id)
    return waiting


def certificate_ended(node_id: str) -> UnauthenticatedError:
    """Return the error for a node whose certificate ended before it was renewed."""
    return UnauthenticatedError(
        f"the certificate of node {node_id} has ended: its agent must join again, with a token of "
        "`fog nodes token` and the key that it has",
        reason="CERTIFICATE_ENDED",
    )


def check_certificate(facts: Facts, node_id: str, said_id: str, key_digest: bytes) -> None:
    """Raise unless a certificate, of `node_id` and this key, may speak for `said_id`.

    Raises:
        PermissionDeniedError: it is another node's, or the log doesn't know it.
        FailedPreconditionError: the node was removed before it ever connected.
    """
    if node_id != said_id:
        raise PermissionDeniedError(
            f"the certificate is node {node_id}'s, the hello says {said_id}: an agent speaks for "
            "its own node only",
            reason="OTHER_NODE",
        )
    identity = facts.identities.get(node_id)
    if identity is not None and identity.revoked:
        raise removed(node_id)
    if identity is None or identity.key_digest != key_digest:
        raise PermissionDeniedError(
            f"the fleet's log knows node {node_id} with another key, or not at all: give this "
            f"agent an empty data folder and a join token; {MAKE_ANOTHER}",
            reason="IDENTITY_UNKNOWN",
        )
    token = facts.join_tokens.get(identity.token_id)
    if node_id not in facts.nodes and token is not None and token.revoked:
        raise PermissionDeniedError(
            f"the join token of node {node_id} was revoked before it connected: {MAKE_ANOTHER}",
            reason="TOKEN_REVOKED",
        )
