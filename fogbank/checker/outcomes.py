"""What an accepted round decided, against the state it was decided on."""

from __future__ import annotations

from collections.abc import Iterable

from fogbank.checker import rebalances
from fogbank.checker.eligibility import fits_empty_node
from fogbank.checker.placements import Placements
from fogbank.checker.quotas import above_quota
from fogbank.checker.report import Counts, Findings, Place, Rule
from fogbank.checker.revisions import may_go_first, roll_back
from fogbank.checker.world import COMPLETE, RUNNING, Deployment, Node, Replica, Wish, World
from fogbank.v1 import rounds_pb2

# An image that so many nodes turned down, before any replica ran, will not be tried elsewhere.
_REJECTIONS = 2


class Outcomes:
    """Checks one round's outcomes one by one, and carries them out as it goes."""

    def __init__(
        self,
        world: World,
        findings: Findings,
        counts: Counts,
        sequence: int,
        decided: rounds_pb2.RoundDecided,
    ) -> None:
        self._world = world
        self._findings = findings
        self._round = decided
        self._placements = Placements(world, findings, counts, sequence)
        self._sequence = sequence

    def take(self) -> None:
        """Check the round and carry it out."""
        title = self._world.policy_title
        if title and self._round.policy != title:
            self._findings.add(
                Place(self._sequence),
                Rule.ROUND_POLICY,
                f"decided by {self._round.policy}, while {title} is the policy",
            )
        for index, outcome in enumerate(self._round.outcomes):
            self._one(Place(self._sequence, index), outcome)
        self._placements.finish()

    def _one(self, place: Place, outcome: rounds_pb2.Outcome) -> None:
        match outcome.WhichOneof("outcome"):
            case "placed":
                deployment = self._looked_at(place, outcome.placed)
                if deployment is not None:
                    self._placements.place(place, deployment, outcome.placed)
            case "deferred":
                self._deferred(place, outcome.deferred)
            case "failed":
                self._failed(place, outcome.failed)
            case "released":
                self._released(place, outcome.released)
            case "suspended":
                self._suspended(place, outcome.suspended)
            case "restored":
                self._restored(place, outcome.restored)
            case "rolled_back":
                self._rolled_back(place, outcome.rolled_back)
            case "rebalance_ended":
                if wrong := rebalances.ended(self._world, outcome.rebalance_ended):
                    self._findings.add(place, Rule.REBALANCED, f"the rebalance {wrong}")
            case "offline":
                self._offline(place, outcome.offline)
            case _:
                self._findings.add(place, Rule.UNDECODABLE, "an outcome of no known kind")

    def _looked_at(
        self,
        place: Place,
        outcome: rounds_pb2.DeploymentPlaced
        | rounds_pb2.DeploymentRolledBack
        | rounds_pb2.DeploymentDeferred
        | rounds_pb2.DeploymentFailed,
    ) -> Deployment | None:
        deployment = self._deployment(place, outcome.deployment_id)
        if deployment is None:
            return None
        if deployment.deleted:
            self._findings.add(
                place, Rule.DELETED, f"deployment {deployment.id} was deleted, and is decided on"
            )
        elif outcome.version != deployment.version:
            self._findings.add(
                place,
                Rule.VERSION,
                f"deployment {deployment.id} is decided on at version {outcome.version}; in the "
                f"round's input it is {deployment.version}",
            )
        return deployment

    def _deployment(self, place: Place, deployment_id: str) -> Deployment | None:
        deployment = self._world.deployments.get(deployment_id)
        if deployment is None:
            self._findings.add(
                place, Rule.UNKNOWN_DEPLOYMENT, f"the round's input has no {deployment_id}"
            )
        return deployment

    def _deferred(self, place: Place, outcome: rounds_pb2.DeploymentDeferred) -> None:
        deployment = self._looked_at(place, outcome)
        if deployment is None:
            return
        tries = deployment.attempt if deployment.attempt_version == outcome.version else 0
        if outcome.attempt not in {0, 1, tries + 1} or outcome.attempt > self._world.retries:
            self._findings.add(
                place,
                Rule.DEFERRED,
                f"deployment {deployment.id} waits for try {outcome.attempt} after {tries}, of "
                f"{self._world.retries}",
            )
        deployment.attempt = outcome.attempt
        deployment.attempt_version = outcome.version
        deployment.not_before_us = outcome.not_before_us

    def _rolled_back(self, place: Place, outcome: rounds_pb2.DeploymentRolledBack) -> None:
        deployment = self._looked_at(place, outcome)
        if deployment is not None and (wrong := roll_back(deployment, outcome)):
            self._findings.add(
                place, Rule.ROLLED_BACK, f"deployment {deployment.id} goes back {wrong}"
            )

    def _failed(self, place: Place, outcome: rounds_pb2.DeploymentFailed) -> None:
        deployment = self._looked_at(place, outcome)
        if deployment is None:
            return
        if wrong := self._too_soon_to_fail(deployment, outcome.version):
            self._findings.add(place, Rule.FAILED, f"deployment {deployment.id} fails {wrong}")
        deployment.failed_version = outcome.version
        deployment.attempt = 0
        deployment.not_before_us = 0

    def _too_soon_to_fail(self, deployment: Deployment, version: int) -> str:
        """Return why a deployment may not fail, in words; empty if it may."""
        if deployment.placed_once:
            turned_down = len(deployment.rejected_on) >= _REJECTIONS and not deployment.ran
            return "" if turned_down else "although it was placed before"
        if above_quota(self._world, deployment):
            return ""
        if deployment.spec.wait_for_capacity:
            return "although it is to wait for capacity"
        if self._world.nodes and not fits_empty_node(self._world, deployment.ask):
            return ""
        tries = deployment.attempt if deployment.attempt_version == version else 0
        if tries < self._world.retries:
            return f"after {tries} of {self._world.retries} retries, and could fit"
        if self._round.instant_us < deployment.not_before_us:
            return "before its last retry was due"
        return ""

    def _replicas(
        self, place: Place, deployment_id: str, replica_ids: Iterable[str]
    ) -> Iterable[Replica]:
        for replica_id in replica_ids:
            replica = self._world.replicas.get(replica_id)
            if replica is None or replica.deployment_id != deployment_id:
                self._findings.add(
                    place,
                    Rule.UNKNOWN_REPLICA,
                    f"{replica_id} is no replica of deployment {deployment_id}",
                )
            else:
                yield replica

    def _released(self, place: Place, outcome: rounds_pb2.ReplicasReleased) -> None:
        for replica in self._replicas(place, outcome.deployment_id, outcome.replica_ids):
            if replica.wish is Wish.RELEASED:
                self._findings.add(
                    place, Rule.RELEASED, f"replica {replica.id} was released already"
                )
            elif wrong := self._why_not_relieved(replica):
                self._findings.add(
                    place, Rule.RELIEVED, f"replica {replica.id} is released {wrong}"
                )
            self._placements.quotas.release(replica)
            self._world.release(replica)
            self._vacate(replica)

    def _why_not_relieved(self, replica: Replica) -> str:
        """Return why a leaving replica may not stop yet, in words; empty if it may."""
        deployment = self._world.deployments[replica.deployment_id]
        if replica.wish is not Wish.LEAVING or replica.ended:
            return ""
        if deployment.deleted or deployment.failed or replica.slot >= deployment.replicas:
            return ""
        node = self._world.nodes.get(replica.node_id)
        if node is None or (node.draining and 0 < node.deadline_us <= self._round.instant_us):
            return ""
        successor = deployment.slots.get(replica.slot)
        if successor is not None and successor.state in {RUNNING, COMPLETE}:
            return ""
        if may_go_first(self._world, deployment, replica):
            return ""
        return "although its successor does not run"

    def _suspended(self, place: Place, outcome: rounds_pb2.ReplicasSuspended) -> None:
        for replica in self._replicas(place, outcome.deployment_id, outcome.replica_ids):
            node = self._world.nodes.get(replica.node_id)
            if replica.wish is not Wish.LIVE:
                wrong = f"was {replica.wish.value} already"
            elif replica.ended:
                wrong = "had ended"
            elif replica.node_id != outcome.node_id:
                wrong = f"is not on node {outcome.node_id}"
            else:
                wrong = self._why_not_lost(node, self._world.deployments[outcome.deployment_id])
            if wrong:
                self._findings.add(place, Rule.SUSPENDED, f"replica {replica.id} {wrong}")
            if replica.wish is Wish.LIVE:
                replica.wish = Wish.SUSPENDED
                self._world.count(replica)
            self._vacate(replica)

    def _why_not_lost(self, node: Node | None, deployment: Deployment) -> str:
        """Return why a node's replicas may not be replaced, in words; empty if they may."""
        if node is None:
            return ""
        if not node.offline:
            return f"is on node {node.name}, which is not offline"
        rules = deployment.asked.disconnect
        if rules.HasField("replace") and not rules.replace:
            return f"is on node {node.name}, and is to wait for it"
        silent_us = self._round.instant_us - node.last_heard_us
        if silent_us < self._world.lost_after_us(rules):
            return f"is on node {node.name}, silent for {silent_us // 1000} ms only"
        if all(other.offline or other.removed for other in self._world.nodes.values()):
            return "is given up while every node is silent"
        return ""

    def _vacate(self, replica: Replica) -> None:
        deployment = self._world.deployments[replica.deployment_id]
        for held in (deployment.slots, deployment.leaving):
            if held.get(replica.slot) is replica:
                del held[replica.slot]

    def _restored(self, place: Place, outcome: rounds_pb2.ReplicasRestored) -> None:
        for replica in self._replicas(place, outcome.deployment_id, outcome.replica_ids):
            self._restore(place, replica)

    def _restore(self, place: Place, replica: Replica) -> None:
        deployment = self._world.deployments[replica.deployment_id]
        node = self._world.nodes.get(replica.node_id)
        if replica.wish not in {Wish.SUSPENDED, Wish.LEAVING}:
            wrong = f"was {replica.wish.value}, not suspended"
        elif replica.ended:
            wrong = "had ended"
        elif node is not None and node.offline:
            wrong = f"is on node {node.name}, which is still offline"
        elif replica.slot >= deployment.replicas or deployment.deleted:
            wrong = "is not wanted any more"
        else:
            wrong = ""
        if wrong:
            self._findings.add(place, Rule.RESTORED, f"replica {replica.id} {wrong}")
        holder = deployment.slots.get(replica.slot)
        stayed = replica.wish is Wish.LEAVING
        if stayed and deployment.leaving.get(replica.slot) is replica:
            del deployment.leaving[replica.slot]
        if replica.wish is Wish.SUSPENDED:
            self._placements.quotas.restore(place, replica, holder)
        if holder is not None and holder is not replica:
            if not stayed and (not holder.ended or holder.state == COMPLETE):
                why = "completed" if holder.ended else "has not ended"
                self._findings.add(
                    place,
                    Rule.SLOT_TAKEN,
                    f"slot {replica.slot} of deployment {deployment.id} goes to {replica.id} while "
                    f"{holder.id} {why}",
                )
            self._world.release(holder)
        # What was released stays so.
        if replica.wish is not Wish.RELEASED:
            replica.wish = Wish.LIVE
            self._world.count(replica)
            deployment.slots[replica.slot] = replica

    def _offline(self, place: Place, outcome: rounds_pb2.NodeOffline) -> None:
        node = self._world.nodes.get(outcome.node_id)
        if node is None:
            self._findings.add(
                place, Rule.UNKNOWN_NODE, f"the round's input has no node {outcome.node_id}"
            )
            return
        seen = any(
            silence.node_id == node.id and silence.epoch == outcome.epoch
            for silence in self._round.observations
        )
        if outcome.epoch != node.epoch:
            wrong = f"for epoch {outcome.epoch}; its epoch is {node.epoch}"
        elif node.removed:
            wrong = "although it was removed"
        elif node.offline:
            wrong = "again"
        elif not seen:
            wrong = "although nobody observed its silence"
        else:
            wrong = ""
        if wrong:
            self._findings.add(place, Rule.OFFLINE, f"node {node.name} is put offline {wrong}")
        node.offline_epoch = outcome.epoch
        node.last_heard_us = outcome.last_heard_at_us
