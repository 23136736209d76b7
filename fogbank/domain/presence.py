"""The replicas of a fleet that have not ended, by node and by deployment, and what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.facts import NodeFact
from fogbank.domain.node_use import NodeUse
from fogbank.domain.quota_use import QuotaUse

_UNUSED = NodeUse()


@dataclass(slots=True)
class Presence:
    """Kept by differences, as replicas come and go; `nodes` are those of the facts.

    `overbooked` are nodes that have less than is booked on them, for they shrank.
    """

    nodes: Mapping[str, NodeFact]
    uses: dict[str, NodeUse] = field(default_factory=dict)
    overbooked: dict[str, None] = field(default_factory=dict)
    quotas: QuotaUse = field(default_factory=QuotaUse)
    _by_deployment: dict[str, tuple[PlacedReplica, ...]] = field(default_factory=dict)

    def on(self, node_id: str) -> NodeUse:
        """Return what the replicas on a node take in all, to be read only."""
        return self.uses.get(node_id, _UNUSED)

    def of(self, deployment_id: str) -> tuple[PlacedReplica, ...]:
        """Return the replicas of a deployment in the order they were placed in."""
        return self._by_deployment.get(deployment_id, ())

    def use_of(self, node_id: str) -> NodeUse:
        """Return what the replicas on a node take, of one that was not removed, to be changed."""
        use = self.uses.get(node_id)
        if use is None:
            use = self.uses[node_id] = NodeUse()
            node = self.nodes.get(node_id)
            if node is not None:
                use.room, use.reflects = node.fingerprint.allocatable, node.load_reflects
        return use

    def place(self, new: list[PlacedReplica], cluster_id: int) -> None:
        """Count new replicas of a deployment, which take the same and are to run."""
        uses = self.uses
        for placed in new:
            use = uses.get(placed.node_id) or self.use_of(placed.node_id)
            # What is new may be too much: the node may have shrunk since it was chosen.
            if not use.place(placed):
                self.overbooked[placed.node_id] = None
        one, by_deployment = new[0], self._by_deployment
        before = by_deployment.get(one.deployment_id, ())
        by_deployment[one.deployment_id] = (*before, *new)
        self.quotas.place(one, len(new), cluster_id)

    def put(self, placed: PlacedReplica, cluster_id: int) -> bool:
        """Count a replica as it is now; tell whether it freed its quota."""
        use = self.use_of(placed.node_id)
        new = placed.id not in use.replicas
        use.put(placed)
        if new:
            self._by_deployment[placed.deployment_id] = (*self.of(placed.deployment_id), placed)
        self.weigh(placed.node_id)
        return self.quotas.put(placed, cluster_id, new=new)

    def remove(self, placed: PlacedReplica, cluster_id: int) -> bool:
        """Count a replica no more that its node does not count; tell whether none is left of it."""
        self.quotas.remove(placed, cluster_id)
        left = tuple([each for each in self.of(placed.deployment_id) if each is not placed])
        if left:
            self._by_deployment[placed.deployment_id] = left
        else:
            del self._by_deployment[placed.deployment_id]
        return not left

    def weigh(self, node_id: str) -> None:
        """Note whether a node, which may have changed, has less than is booked on it."""
        node, use = self.nodes.get(node_id), self.uses.get(node_id)
        if use is not None and node is not None and not node.removed:
            use.room = node.fingerprint.allocatable
            if not use.fits():
                self.overbooked[node_id] = None
                return
        self.overbooked.pop(node_id, None)
