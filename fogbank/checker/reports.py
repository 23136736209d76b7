"""What nodes say of their replicas: whose word counts, and what it may say."""

from __future__ import annotations

from fogbank.checker.report import Findings, Place, Rule
from fogbank.checker.world import (
    ALIVE,
    COMPLETE,
    REJECTED,
    RUNNING,
    STARTED,
    STATE_NAMES,
    Node,
    Replica,
    World,
)
from fogbank.v1 import facts_pb2


class Reports:
    """Takes nodes' reports in: a report counts in the node's epoch, as the one after the last."""

    def __init__(self, world: World, findings: Findings) -> None:
        self._world = world
        self._findings = findings

    def take(self, place: Place, report: facts_pb2.NodeReported) -> bool:
        """Take a report in; False if it is void."""
        node = self._world.nodes.get(report.node_id)
        if node is None or node.removed or node.epoch != report.epoch:
            return False
        if report.number != node.last_report + 1:
            if report.number > max(node.last_report, node.ahead):
                node.ahead, node.ahead_at = report.number, place.sequence
            return False
        node.last_report = report.number
        ending = {seen.replica_id for seen in report.observations if seen.final}
        for seen in report.observations:
            self._observe(place, node, seen, ending)
        return True

    def finish(self) -> None:
        """Find reports that came before their turn and never came again."""
        for node in self._world.nodes.values():
            if node.ahead > node.last_report and not node.removed:
                self._findings.add(
                    Place(node.ahead_at),
                    Rule.REPORT_GAP,
                    f"node {node.name} wrote report {node.ahead}, but the last that counts is "
                    f"{node.last_report}",
                )

    def _observe(
        self, place: Place, node: Node, seen: facts_pb2.ReplicaObservation, ending: set[str]
    ) -> None:
        if seen.state not in STATE_NAMES or seen.state == 0:
            self._findings.add(
                place, Rule.UNDECODABLE, f"{seen.state} is no state of replica {seen.replica_id}"
            )
            return
        replica = self._world.replicas.get(seen.replica_id)
        if replica is None or replica.node_id != node.id or replica.placed_at > place.sequence:
            # Agents do report, as ended, what they are asked to stop and do not know.
            if seen.state in ALIVE and not seen.final:
                self._findings.add(
                    place,
                    Rule.RUNS_UNPLACED,
                    f"node {node.name} has replica {seen.replica_id} "
                    f"{STATE_NAMES[seen.state]}, which no round had placed there",
                )
            return
        if self._grows(place, node, replica, seen):
            self._advance(place, node, replica, seen, ending)

    def _grows(
        self, place: Place, node: Node, replica: Replica, seen: facts_pb2.ReplicaObservation
    ) -> bool:
        if replica.ended:
            if seen.state in ALIVE:
                self._findings.add(
                    place,
                    Rule.RUNS_AFTER_END,
                    f"node {node.name} has replica {replica.id} {STATE_NAMES[seen.state]} after "
                    "it said that it ended for good",
                )
            return False
        if (seen.restart_count, seen.state) < (replica.restarts, replica.state):
            self._findings.add(
                place,
                Rule.STATE_FALLS,
                f"replica {replica.id} falls from restart {replica.restarts} "
                f"{STATE_NAMES[replica.state]} to {seen.restart_count} {STATE_NAMES[seen.state]}",
            )
            return False
        return True

    def _advance(
        self,
        place: Place,
        node: Node,
        replica: Replica,
        seen: facts_pb2.ReplicaObservation,
        ending: set[str],
    ) -> None:
        if seen.state in STARTED and replica.starts_after:
            self._started(place, replica, ending)
        replica.restarts = seen.restart_count
        replica.state = seen.state
        replica.health = seen.health
        deployment = self._world.deployments.get(replica.deployment_id)
        if deployment is not None:
            deployment.ran = deployment.ran or seen.state in {RUNNING, COMPLETE}
            if seen.final and seen.state == REJECTED and seen.unobtainable:
                deployment.rejected_on.add(node.id)
        if seen.final:
            self._world.end(replica, place.sequence)

    def _started(self, place: Place, replica: Replica, ending: set[str]) -> None:
        """See that what a replica had to wait for has ended. Within one report order says nothing.

        Said once for each replica.
        """
        for awaited_id in replica.starts_after:
            awaited = self._world.replicas.get(awaited_id)
            if awaited is not None and not awaited.ended and awaited_id not in ending:
                self._findings.add(
                    place,
                    Rule.STARTED_TOO_EARLY,
                    f"replica {replica.id} started before {awaited_id}, whose room it takes, "
                    "had ended",
                )
        replica.starts_after = ()
