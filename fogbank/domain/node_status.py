"""Why a node takes no replicas, in words for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import NodeStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def node_reason(fleet: FleetState, node: NodeFact, status: NodeStatus | None = None) -> str:
    """Return why a node has its status, if that is at hand; empty while it is ready."""
    match status or fleet.node_status(node):
        case NodeStatus.ACTIVE | NodeStatus.IDLE:
            return ""
        case NodeStatus.REMOVED:
            return "Removed from the fleet"
        case NodeStatus.OFFLINE:
            return f"Not heard of for too long{_and(_maintenance(fleet, node))}"
        case NodeStatus.MAINTENANCE:
            return _maintenance(fleet, node)
        case NodeStatus.BUSY:
            return f"Measured load is over {fleet.facts.policy.busy_load_percent} %"


def _maintenance(fleet: FleetState, node: NodeFact) -> str:
    if node.draining:
        left = sum(1 for _ in fleet.on_node(node.id))
        until = f" until {_clock(node.drain_deadline_us)}" if node.drain_deadline_us else ""
        doing = f"Draining{until}, {left} left" if left else "Drained"
    elif node.cordoned:
        doing = "Cordoned"
    else:
        return ""
    return f"{doing}: {node.cordon_reason}" if node.cordon_reason else doing


def _and(words: str) -> str:
    return f"; {words[0].lower()}{words[1:]}" if words else ""


def _clock(instant_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=instant_us)).strftime("%Y-%m-%d %H:%M:%S UTC")
