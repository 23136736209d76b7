"""A whole fleet in a test: a log, a planner that follows it, and agents that obey."""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import Commit
from fogbank.domain.folded import Folded
from fogbank.domain.good_revisions import needed_revisions
from fogbank.domain.node import Fingerprint
from fogbank.domain.states import DeploymentStatus, ReplicaState
from fogbank.domain.status import StatusChange, StatusTracker
from fogbank.placement import Planner
from tests.support.fleet_log import LittleLog, a_spec


@dataclass(slots=True)
class LittleFleet:
    """Everything that a scenario needs, step by step."""

    log: LittleLog = field(default_factory=LittleLog)
    planner: Planner = field(default_factory=Planner)
    tracker: StatusTracker = field(default_factory=StatusTracker)
    changes: list[StatusChange] = field(default_factory=list)

    def fold(self, commit: Commit) -> Commit:
        """Let the planner and the statuses take a commit in."""
        folded = self.planner.fold(commit)
        self.changes += self.tracker.update(self.planner.fleet, folded)
        return commit

    def connect(self, name: str, fingerprint: Fingerprint | None = None) -> str:
        """Let a node shake hands."""
        node_id, commit = self.log.connect(name, fingerprint)
        self.fold(commit)
        return node_id

    def deploy(self, spec: DeploymentSpec) -> str:
        """Accept a deployment."""
        deployment_id, commit = self.log.deploy(spec)
        self.fold(commit)
        return deployment_id

    def fact(self, event: ev.Event) -> Commit:
        """Write a fact."""
        return self.fold(self.log.fact(event))

    def update(self, deployment_id: str, spec: DeploymentSpec) -> Commit:
        """Write an update as a gateway does."""
        deployment = self.planner.fleet.facts.deployments[deployment_id]
        needed = needed_revisions(self.planner.fleet, deployment)
        return self.fact(ev.DeploymentUpdated(deployment_id, spec, deployment.env_key, needed))

    def decide(self, *observations: ev.NodeSilence) -> tuple[ev.Outcome, ...]:
        """Decide one round, append it, and return its outcomes."""
        decided = self.planner.decide(self.log.now_us, observations)
        if decided is None:
            return ()
        assert not decided.errors, decided.errors
        self.fold(self.log.round(decided.event, causes=decided.causes))
        return decided.event.outcomes

    def settle(self) -> list[ev.Outcome]:
        """Decide until there is nothing left to decide."""
        outcomes: list[ev.Outcome] = []
        while more := self.decide():
            outcomes += more
        return outcomes

    def another_round(self) -> Folded:
        """Let a round count, whatever it is about."""
        self.deploy(a_spec())
        decided = self.planner.decide(self.log.now_us)
        assert decided is not None
        folded = self.planner.fold(self.log.round(decided.event))
        self.tracker.update(self.planner.fleet, folded)
        return folded

    def obey(self) -> None:
        """Let every agent run what it is to run and stop what it is to stop."""
        fleet = self.planner.fleet
        for node in list(fleet.facts.nodes.values()):
            if fleet.offline_since_us(node) is not None:
                continue
            seen = []
            for placed in fleet.on_node(node.id):
                if placed.desired == "released":
                    seen.append(self.log.seen(placed.id, ReplicaState.STOPPED, final=True))
                elif fleet.replica_state(placed) is ReplicaState.ASSIGNED:
                    seen.append(self.log.seen(placed.id, ReplicaState.RUNNING))
            if seen:
                self.fold(self.log.report(node.id, *seen))

    def silence(self, node_id: str) -> ev.NodeSilence:
        """Return the observation that a node was last heard of now."""
        return ev.NodeSilence(
            node_id, self.planner.fleet.facts.nodes[node_id].epoch, self.log.now_us
        )

    def status(self, deployment_id: str) -> DeploymentStatus:
        """Return where a deployment stands."""
        return self.tracker.current[deployment_id]

    def nodes_of(self, deployment_id: str) -> list[str]:
        """Return the names of the nodes of a deployment's live replicas, by slot."""
        fleet = self.planner.fleet
        slots = fleet.decisions.of(deployment_id).slots
        return [
            fleet.facts.nodes[fleet.decisions.placements[slots[slot]].node_id].name
            for slot in sorted(slots)
        ]
