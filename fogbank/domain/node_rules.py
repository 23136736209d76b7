"""The fold rules of what operators say of nodes (cordon, uncordon, drain, remove) and hosts run on.

What is said already may be said again. A node that was removed is not spoken of any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.node import NO_DETAILS
from fogbank.domain.verdict import VoidReason

if TYPE_CHECKING:
    from fogbank.domain.facts import Facts, NodeFact


def known_node(facts: Facts, node_id: str) -> NodeFact | VoidReason:
    """Return a node of the fleet, to be changed, or why there is none."""
    node = facts.nodes.get(node_id)
    if node is None:
        return VoidReason.UNKNOWN_NODE
    return VoidReason.NODE_REMOVED if node.removed else facts.nodes.change(node_id)


def take_details(facts: Facts, event: ev.NodeConnected | ev.NodeCapacityChanged) -> None:
    """Take in what a node's host runs on; nothing is kept of one that says nothing."""
    if event.details != NO_DETAILS:
        facts.host_details[event.node_id] = event.details
    else:
        facts.host_details.discard(event.node_id)


def node_cordoned(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeCordoned, position: int
) -> VoidReason | None:
    """Let a node take nothing new; one that is drained is drained on."""
    node = known_node(facts, event.node_id)
    if isinstance(node, VoidReason):
        return node
    node.cordoned = True
    node.commanded_position = position
    node.cordon_reason = event.reason
    return None


def node_uncordoned(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeUncordoned, position: int
) -> VoidReason | None:
    """Let a node take replicas again, and end its drain."""
    node = known_node(facts, event.node_id)
    if isinstance(node, VoidReason):
        return node
    node.cordoned = node.draining = False
    node.commanded_position = position
    node.cordon_reason = ""
    node.drain_deadline_us = 0
    facts.draining.discard(node.id)
    return None


def node_draining(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeDraining, position: int
) -> VoidReason | None:
    """Begin to empty a node, or give its drain another deadline.

    Without a reason that of the cordon before it stays.
    """
    node = known_node(facts, event.node_id)
    if isinstance(node, VoidReason):
        return node
    node.cordoned = node.draining = True
    node.commanded_position = position
    node.drain_deadline_us = event.deadline_us
    node.cordon_reason = event.reason or node.cordon_reason
    facts.draining[node.id] = None
    return None


def node_removed(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeRemoved, position: int
) -> VoidReason | None:
    """Strike a node off the fleet, for ever."""
    node = known_node(facts, event.node_id)
    if isinstance(node, VoidReason):
        return node
    node.removed = True
    node.commanded_position = position
    facts.draining.discard(node.id)
    return None
