"""Who had to give way to a deployment: that it was entitled to it, and that it was needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fogbank.checker.eligibility import exceeded, places_for
from fogbank.checker.quotas import Quotas
from fogbank.checker.report import Findings, Place, Rule
from fogbank.checker.world import Deployment, Replica, Wish, World
from fogbank.v1 import rounds_pb2

_GPU = 3
# One outcome names no more others; an ask for many takes only nodes where few enough still stop.
_MOST_NAMES = 4_000


@dataclass(slots=True)
class Evictions:
    """The evictions on behalf of one deployment; `finish` is called when it is placed."""

    world: World
    findings: Findings
    place: Place
    taker: Deployment
    quotas: Quotas
    _victims: list[Replica] = field(default_factory=list)

    def take(self, outcome: rounds_pb2.DeploymentPlaced) -> None:
        """Take in the evictions of an outcome and carry them out."""
        if not outcome.evictions:
            return
        wanted = len(outcome.placements)
        fits = places_for(self.world, self.taker, wanted, _MOST_NAMES // wanted) >= wanted
        has_quota = not self.quotas.exceeded(self.taker, wanted)
        if fits and has_quota and not self.taker.ask[_GPU]:
            self._found(f"deployment {self.taker.id} has others evicted although there is room")
        for eviction in outcome.evictions:
            for replica_id in eviction.replica_ids:
                replica = self.world.replicas.get(replica_id)
                if replica is None or replica.deployment_id != eviction.deployment_id:
                    self.findings.add(
                        self.place,
                        Rule.UNKNOWN_REPLICA,
                        f"{replica_id} is no replica of deployment {eviction.deployment_id}",
                    )
                    continue
                if wrong := self._why_not(replica):
                    self._found(f"replica {replica.id} is evicted for {self.taker.id} and {wrong}")
                self._carry_out(replica)

    def _why_not(self, replica: Replica) -> str:
        """Return why a replica may not be evicted, in words; empty if it may."""
        world, taker = self.world, self.taker.spec
        deployment = world.deployments[replica.deployment_id]
        victim, cluster_id = deployment.spec, deployment.cluster_of(replica.revision)
        if replica.wish is not Wish.LIVE:
            return f"was {replica.wish.value} already"
        if replica.ended:
            return "had ended"
        if taker.priority < world.preemption_min_priority:
            return f"nobody gives way to priority {taker.priority}"
        if victim.priority > taker.priority - world.preemption_min_gap:
            return f"has priority {victim.priority}, too near to {taker.priority}"
        if cluster_id != self.taker.cluster_id and not world.preemption_across_clusters:
            return f"is of cluster {cluster_id} instead of {self.taker.cluster_id}"
        return ""

    def _carry_out(self, replica: Replica) -> None:
        if replica.wish is Wish.LIVE and not replica.ended:
            self._victims.append(replica)
        self.world.release(replica)
        slots = self.world.deployments[replica.deployment_id].slots
        if slots.get(replica.slot) is replica:
            del slots[replica.slot]

    def finish(self, node_ids: Iterable[str]) -> None:
        """Judge whether each eviction was needed, now that the deployment has its room."""
        placed_on = set(node_ids)
        for replica in self._victims:
            if self.quotas.short_with(self.taker, replica):
                continue
            node = self.world.nodes.get(replica.node_id)
            if node is None or node.id not in placed_on:
                self._found(f"replica {replica.id} is evicted from where nothing is placed")
                continue
            back = [sum(pair) for pair in zip(node.booked, replica.ask, strict=True)]
            # Which devices are free is not seen in sums.
            if not self.taker.ask[_GPU] and not exceeded(node, back):
                self._found(f"replica {replica.id} is evicted and could have stayed")

    def _found(self, sentence: str) -> None:
        self.findings.add(self.place, Rule.EVICTED, sentence)
