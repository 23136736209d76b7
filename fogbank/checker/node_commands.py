"""What operators say of nodes, and what it changes."""

from __future__ import annotations

from fogbank.checker.report import Place
from fogbank.checker.world import Node, World
from fogbank.v1 import facts_pb2


class NodeCommands:
    """Takes cordons, drains and removals in; says of each whether it counts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def cordoned(self, _place: object, _envelope: object, event: facts_pb2.NodeCordoned) -> bool:
        """Close a node."""
        node = self._known(event.node_id)
        if node is None:
            return False
        node.closed = True
        return True

    def uncordoned(
        self, _place: object, _envelope: object, event: facts_pb2.NodeUncordoned
    ) -> bool:
        """Open a node."""
        node = self._known(event.node_id)
        if node is None:
            return False
        node.closed = node.draining = False
        return True

    def draining(self, _place: object, _envelope: object, event: facts_pb2.NodeDraining) -> bool:
        """Close a node that is to be emptied."""
        node = self._known(event.node_id)
        if node is None:
            return False
        node.closed = node.draining = True
        node.deadline_us = event.deadline_us
        return True

    def removed(self, place: Place, _envelope: object, event: facts_pb2.NodeRemoved) -> bool:
        """End all that a node has: nobody will hear of it again."""
        node = self._known(event.node_id)
        if node is None:
            return False
        node.removed = True
        self._world.removed_nodes += 1
        for replica in list(node.replicas.values()):
            self._world.end(replica, place.sequence)
        return True

    def _known(self, node_id: str) -> Node | None:
        node = self._world.nodes.get(node_id)
        return None if node is None or node.removed else node
