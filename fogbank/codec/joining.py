"""How nodes join, to messages and back."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.v1 import facts_pb2 as pb


def join_token_created_to_pb(event: ev.JoinTokenCreated) -> pb.JoinTokenCreated:
    """Return the event's message."""
    return pb.JoinTokenCreated(
        secret_digest=event.secret_digest,
        max_uses=event.max_uses,
        expires_at_us=event.expires_at_us,
    )


def join_token_created_from_pb(message: pb.JoinTokenCreated) -> ev.JoinTokenCreated:
    """Return the message's event."""
    return ev.JoinTokenCreated(message.secret_digest, message.max_uses, message.expires_at_us)


def join_token_revoked_to_pb(event: ev.JoinTokenRevoked) -> pb.JoinTokenRevoked:
    """Return the event's message."""
    return pb.JoinTokenRevoked(token_id=event.token_id)


def join_token_revoked_from_pb(message: pb.JoinTokenRevoked) -> ev.JoinTokenRevoked:
    """Return the message's event."""
    return ev.JoinTokenRevoked(message.token_id)


def node_joined_to_pb(event: ev.NodeJoined) -> pb.NodeJoined:
    """Return the event's message."""
    return pb.NodeJoined(
        token_id=event.token_id, node_id=event.node_id, key_digest=event.key_digest
    )


def node_joined_from_pb(message: pb.NodeJoined) -> ev.NodeJoined:
    """Return the message's event."""
    return ev.NodeJoined(message.token_id, message.node_id, message.key_digest)


def node_identity_revoked_to_pb(event: ev.NodeIdentityRevoked) -> pb.NodeIdentityRevoked:
    """Return the event's message."""
    return pb.NodeIdentityRevoked(node_id=event.node_id)


def node_identity_revoked_from_pb(message: pb.NodeIdentityRevoked) -> ev.NodeIdentityRevoked:
    """Return the message's event."""
    return ev.NodeIdentityRevoked(message.node_id)


def copied_identity_refused_to_pb(
    event: ev.CopiedIdentityRefused,
) -> pb.CopiedIdentityRefused:
    """Return the event's message."""
    return pb.CopiedIdentityRefused(
        node_id=event.node_id,
        last_epoch=event.last_epoch,
        confirmed_epoch=event.confirmed_epoch,
    )


def copied_identity_refused_from_pb(
    message: pb.CopiedIdentityRefused,
) -> ev.CopiedIdentityRefused:
    """Return the message's event."""
    return ev.CopiedIdentityRefused(message.node_id, message.last_epoch, message.confirmed_epoch)
