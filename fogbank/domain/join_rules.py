"""How nodes join, as the fold has it: tokens, who used them, and which key a node has.

Whether a token has uses left is the fold's to say, so that many gateways give out no more of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.node_rules import known_node
from fogbank.domain.value import row
from fogbank.domain.verdict import VoidReason

if TYPE_CHECKING:
    from fogbank.domain.facts import Facts


@row
class JoinTokenFact:
    """A join token; instants in microseconds since 1970."""

    id: str
    secret_digest: bytes
    max_uses: int
    created_at_us: int
    expires_at_us: int
    created_position: int
    content_digest: bytes = b""
    uses: int = 0
    revoked: bool = False


@row
class NodeIdentity:
    """The key that a node proves itself with (SHA-256), and the token that it last joined by.

    One that was revoked has no key.
    """

    key_digest: bytes
    token_id: str
    joined_at_us: int

    @property
    def revoked(self) -> bool:
        """Tell whether the node was struck off before it ever connected."""
        return not self.key_digest


def why_not_join(facts: Facts, token_id: str, node_id: str, key_digest: bytes) -> VoidReason | None:
    """Return why a node can't join with a key and a token; None if it can.

    A node that joined by this very token may do so again with its key: it may not have heard.
    """
    node = facts.nodes.get(node_id)
    identity = facts.identities.get(node_id)
    if (node is not None and node.removed) or (identity is not None and identity.revoked):
        return VoidReason.NODE_REMOVED
    if identity is not None and identity.key_digest != key_digest:
        return VoidReason.OTHER_KEY
    token = facts.join_tokens.get(token_id)
    if token is None:
        return VoidReason.JOIN_UNKNOWN
    if token.revoked:
        return VoidReason.JOIN_REVOKED
    if identity is not None and identity.token_id == token_id:
        return None
    if facts.log_time_us > token.expires_at_us:
        return VoidReason.JOIN_EXPIRED
    return VoidReason.JOIN_USED_UP if token.uses >= token.max_uses else None


def join_token_created(
    facts: Facts, envelope: EventEnvelope, event: ev.JoinTokenCreated, position: int
) -> VoidReason | None:
    """Let nodes join by a token; its id is the event's, and that is known for ever."""
    facts.join_tokens[envelope.event_id] = JoinTokenFact(
        envelope.event_id,
        event.secret_digest,
        event.max_uses,
        facts.log_time_us,
        event.expires_at_us,
        position,
        envelope.content_digest,
    )
    return None


def join_token_revoked(
    facts: Facts, _envelope: EventEnvelope, event: ev.JoinTokenRevoked, _position: int
) -> VoidReason | None:
    """Let nobody join by a token any more."""
    if event.token_id not in facts.join_tokens:
        return VoidReason.JOIN_UNKNOWN
    facts.join_tokens.change(event.token_id).revoked = True
    return None


def node_joined(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeJoined, _position: int
) -> VoidReason | None:
    """Give a node its identity, and count the token's use unless it was counted before."""
    why = why_not_join(facts, event.token_id, event.node_id, event.key_digest)
    if why is not None:
        return why
    identity = facts.identities.get(event.node_id)
    if identity is None or identity.token_id != event.token_id:
        facts.join_tokens.change(event.token_id).uses += 1
        facts.identities[event.node_id] = NodeIdentity(
            event.key_digest, event.token_id, facts.log_time_us
        )
    return None


def node_identity_revoked(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeIdentityRevoked, _position: int
) -> VoidReason | None:
    """Take its key from a node that never connected; one that did is removed like any other."""
    if event.node_id in facts.nodes:
        return VoidReason.NODE_CONNECTED
    identity = facts.identities.get(event.node_id)
    if identity is None:
        return VoidReason.UNKNOWN_NODE
    if identity.revoked:
        return VoidReason.NODE_REMOVED
    facts.identities.change(event.node_id).key_digest = b""
    return None


def copied_identity_refused(
    facts: Facts, _envelope: EventEnvelope, event: ev.CopiedIdentityRefused, _position: int
) -> VoidReason | None:
    """Change nothing: it is for the record."""
    node = known_node(facts, event.node_id)
    return node if isinstance(node, VoidReason) else None
