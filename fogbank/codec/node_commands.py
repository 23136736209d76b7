"""What operators say of nodes, to messages and back."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.v1 import facts_pb2 as pb


def node_cordoned_to_pb(event: ev.NodeCordoned) -> pb.NodeCordoned:
    """Return the event's message."""
    return pb.NodeCordoned(node_id=event.node_id, reason=event.reason)


def node_cordoned_from_pb(message: pb.NodeCordoned) -> ev.NodeCordoned:
    """Return the message's event."""
    return ev.NodeCordoned(message.node_id, message.reason)


def node_uncordoned_to_pb(event: ev.NodeUncordoned) -> pb.NodeUncordoned:
    """Return the event's message."""
    return pb.NodeUncordoned(node_id=event.node_id)


def node_uncordoned_from_pb(message: pb.NodeUncordoned) -> ev.NodeUncordoned:
    """Return the message's event."""
    return ev.NodeUncordoned(message.node_id)


def node_draining_to_pb(event: ev.NodeDraining) -> pb.NodeDraining:
    """Return the event's message."""
    return pb.NodeDraining(
        node_id=event.node_id, deadline_us=event.deadline_us, reason=event.reason
    )


def node_draining_from_pb(message: pb.NodeDraining) -> ev.NodeDraining:
    """Return the message's event."""
    return ev.NodeDraining(message.node_id, message.deadline_us, message.reason)


def node_removed_to_pb(event: ev.NodeRemoved) -> pb.NodeRemoved:
    """Return the event's message."""
    return pb.NodeRemoved(node_id=event.node_id)


def node_removed_from_pb(message: pb.NodeRemoved) -> ev.NodeRemoved:
    """Return the message's event."""
    return ev.NodeRemoved(message.node_id)
