"""How nodes join: which uses of which tokens count."""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.checker.world import World
from fogbank.v1 import facts_pb2, log_pb2


@dataclass(slots=True)
class _Token:
    most: int
    until_us: int
    open: bool = True
    uses: int = 0


class Joining:
    """Takes tokens and joins in; says of each whether it counts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, _Token] = {}
        # Each node's key, and the token that it came by last.
        self._keys: dict[str, tuple[bytes, str]] = {}
        # Nodes that were struck off before they ever connected.
        self.outcasts: set[str] = set()
        self.log_time_us = 0

    def knows(self, token_id: str) -> bool:
        """Tell whether there is such a token, or was one that doesn't count any more."""
        return token_id in self._tokens

    def created(
        self, _place: object, envelope: log_pb2.EventEnvelope, event: facts_pb2.JoinTokenCreated
    ) -> bool:
        """Note a token."""
        self._tokens[envelope.event_id] = _Token(event.max_uses, event.expires_at_us)
        return True

    def revoked(self, _place: object, _envelope: object, event: facts_pb2.JoinTokenRevoked) -> bool:
        """Close a token."""
        token = self._tokens.get(event.token_id)
        if token is None:
            return False
        token.open = False
        return True

    def joined(self, _place: object, _envelope: object, event: facts_pb2.NodeJoined) -> bool:
        """Give a node its key, once for each token."""
        node = self._world.nodes.get(event.node_id)
        key, last = self._keys.get(event.node_id, (event.key_digest, ""))
        token = self._tokens.get(event.token_id)
        if (node is not None and node.removed) or event.node_id in self.outcasts:
            return False
        if key != event.key_digest:
            return False
        if token is None or not token.open:
            return False
        if last == event.token_id:
            return True
        # A node that came by another token meanwhile takes one more use when it comes again.
        if token.uses >= token.most or self.log_time_us > token.until_us:
            return False
        token.uses += 1
        self._keys[event.node_id] = (key, event.token_id)
        return True

    def struck_off(
        self, _place: object, _envelope: object, event: facts_pb2.NodeIdentityRevoked
    ) -> bool:
        """Keep a node out that has a key and was never seen."""
        known = event.node_id in self._keys and event.node_id not in self._world.nodes
        if not known or event.node_id in self.outcasts:
            return False
        self.outcasts.add(event.node_id)
        return True

    def copy_refused(
        self, _place: object, _envelope: object, event: facts_pb2.CopiedIdentityRefused
    ) -> bool:
        """It changes nothing."""
        node = self._world.nodes.get(event.node_id)
        return node is not None and not node.removed
