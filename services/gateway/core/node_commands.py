"""What operators say of nodes, as events in their envelopes, and what may be said.

The digest of a command is of the node as the caller named it, so that a repeat is known for one
even when the name belongs to another node since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fogbank.domain import events as ev
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import command_event_id
from services.gateway.core.commands import content_digest

CORDON = "CordonNode"
UNCORDON = "UncordonNode"
DRAIN = "DrainNode"
REMOVE = "RemoveNode"

Removal = ev.NodeRemoved | ev.NodeIdentityRevoked

MAX_REASON = 256
# The longest deadline of a drain: a year.
MAX_DRAIN_MS = 365 * 24 * 3600 * 1000


def find_node(fleet: FleetState, id_or_name: str) -> NodeFact:
    """Return the node of this id, or else the one of this name that connected last.

    Raises:
        InvalidArgumentError: nothing was given.
        NotFoundError: there is none, or it was removed.
    """
    if not id_or_name:
        raise InvalidArgumentError.of_field("node", "must be a node's id or name")
    by_id = fleet.facts.nodes.get(id_or_name.lower())
    if by_id is not None and not by_id.removed:
        return by_id
    named = [
        node for node in fleet.facts.nodes.values() if node.name == id_or_name and not node.removed
    ]
    if not named:
        raise NotFoundError.of("node", id_or_name)
    return max(named, key=lambda node: node.epoch)


def removal(fleet: FleetState, id_or_name: str, *, force: bool) -> Removal:
    """Return the event that removes a node; one that joined and never connected goes by its id.

    Raises:
        FailedPreconditionError: replicas are on it, and it isn't forced.
        InvalidArgumentError, NotFoundError: as `find_node`.
    """
    identity = fleet.facts.identities.get(id_or_name.lower())
    if (
        identity is not None
        and not identity.revoked
        and id_or_name.lower() not in fleet.facts.nodes
    ):
        return ev.NodeIdentityRevoked(id_or_name.lower())
    node = find_node(fleet, id_or_name)
    check_removal(fleet, node, force=force)
    return ev.NodeRemoved(node.id)


def check_reason(reason: str) -> str:
    """Return a reason for people, trimmed; InvalidArgumentError unless it makes sense."""
    reason = reason.strip()
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise InvalidArgumentError.of_field(
            "reason", f"must be at most {MAX_REASON} printable characters, got {len(reason)}"
        )
    return reason


def check_deadline(deadline_ms: int) -> int:
    """Return a drain's time; InvalidArgumentError unless it is from 0 to a year."""
    if not 0 <= deadline_ms <= MAX_DRAIN_MS:
        raise InvalidArgumentError.of_field(
            "deadline",
            f"must be between 0 and {MAX_DRAIN_MS // 1000} s, got {deadline_ms / 1000:g} s",
        )
    return deadline_ms


def check_removal(fleet: FleetState, node: NodeFact, *, force: bool) -> None:
    """Raise FailedPreconditionError if replicas are on a node that is to be removed unforced."""
    left = sum(1 for _ in fleet.on_node(node.id))
    if left and not force:
        replicas = "1 replica is" if left == 1 else f"{left} replicas are"
        raise FailedPreconditionError(
            f"{replicas} on node {node.name}; drain it first, or use force: then they count as "
            "lost at once",
            reason="NODE_NOT_EMPTY",
        )


def node_envelope(
    user_id: str,
    method: str,
    request_id: str,
    event: ev.NodeCordoned | ev.NodeUncordoned | ev.NodeDraining | Removal,
    *,
    content: Mapping[str, Any],
    now_us: int,
) -> EventEnvelope:
    """Return the event of a command; `content` is what the caller asked for."""
    event_id = command_event_id(user_id, method, request_id)
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"node/{event.node_id}",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(method, content)),
    )
