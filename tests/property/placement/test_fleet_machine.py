"""Whatever happens to a fleet, in whatever order: the promises of rounds hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec, RolloutSpec
from fogbank.domain.envelope import Commit
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.good_revisions import needed_revisions
from fogbank.domain.revisions import with_replicas_of
from fogbank.domain.states import ReplicaState
from tests.property.placement.checked_fleet import CheckedFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.laws import broken_laws

NODES = 5
RUNNING, STOPPED, FAILED, COMPLETE = (
    ReplicaState.RUNNING,
    ReplicaState.STOPPED,
    ReplicaState.FAILED,
    ReplicaState.COMPLETE,
)
REGIONS = st.sampled_from(["us-east", "us-central", "eu-north"])
pick = st.integers(0, 2**16)
ROLLOUTS = st.sampled_from(
    [RolloutSpec(), RolloutSpec(1, 1), RolloutSpec(0, 1), RolloutSpec(2, 0), RolloutSpec(3, 0, 0)]
)
limits = st.sampled_from([1, 3, 384])


class FleetMachine(RuleBasedStateMachine):
    """Authors, nodes and rival schedulers do as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = CheckedFleet()
        self.heard_us: dict[str, int] = {}
        self.rounds: list[ev.RoundDecided] = []

    def _nodes(self) -> list[str]:
        return list(self.fleet.planner.fleet.facts.nodes)

    def _on_line(self) -> list[str]:
        state = self.fleet.planner.fleet
        return [
            node.id for node in state.facts.nodes.values() if state.offline_since_us(node) is None
        ]

    def _deployments(self) -> list[str]:
        return list(self.fleet.planner.fleet.facts.deployments)

    @initialize(cpus=st.lists(st.sampled_from([1000, 4000, 8000]), max_size=NODES))
    def begin(self, cpus: list[int]) -> None:
        for number, cpu in enumerate(cpus):
            self.connect(number, cpu, number % 2, "us-east")

    # Authors.

    @rule(
        replicas=st.integers(1, 4),
        cpu=st.sampled_from([500, 1500, 4000]),
        memory=st.sampled_from([512, 4096]),
        gpu=st.sampled_from([0, 0, 0, 1]),
        priority=st.sampled_from([20, 50, 60, 80, 95]),
        wait=st.booleans(),
        region=REGIONS,
        rollout=ROLLOUTS,
    )
    def deploy(
        self,
        replicas: int,
        cpu: int,
        memory: int,
        gpu: int,
        priority: int,
        *,
        wait: bool,
        region: str,
        rollout: RolloutSpec,
    ) -> None:
        spec = a_spec(
            "d",
            replicas,
            cpu=cpu,
            memory=memory,
            gpu=gpu,
            priority=priority,
            wait_for_capacity=wait,
            region=region,
            rollout=rollout,
        )
        self.fleet.take(self.fleet.log.deploy(spec)[1])

    @precondition(lambda self: self._deployments())
    @rule(which=pick, replicas=st.integers(1, 5))
    def scale(self, which: int, replicas: int) -> None:
        ids = self._deployments()
        scaled = ev.DeploymentScaled(ids[which % len(ids)], replicas)
        self.fleet.take(self.fleet.log.fact(scaled))

    @precondition(lambda self: self._deployments())
    @rule(
        which=pick,
        image=st.sampled_from(["nginx:1.24", "nginx:1.25", "nginx:1.26"]),
        cpu=st.sampled_from([500, 1500]),
    )
    def update(self, which: int, image: str, cpu: int) -> None:
        deployment = self._deployment(which)
        resources = replace(deployment.spec.resources, cpu_millicores=cpu)
        self._become(
            deployment, replace(deployment.spec, container_image=image, resources=resources)
        )

    @precondition(lambda self: self._deployments())
    @rule(which=pick, revision=pick)
    def go_back(self, which: int, revision: int) -> None:
        deployment = self._deployment(which)
        kept = deployment.revisions
        former = kept[revision % len(kept)].spec
        self._become(deployment, with_replicas_of(deployment.spec, former))

    def _deployment(self, which: int) -> DeploymentFact:
        deployments = self.fleet.planner.fleet.facts.deployments
        return deployments[self._deployments()[which % len(deployments)]]

    def _become(self, deployment: DeploymentFact, spec: DeploymentSpec) -> None:
        needed = needed_revisions(self.fleet.planner.fleet, deployment)
        event = ev.DeploymentUpdated(deployment.id, spec, needed_revisions=needed)
        self.fleet.take(self.fleet.log.fact(event))

    @precondition(lambda self: self._deployments())
    @rule(which=pick)
    def delete(self, which: int) -> None:
        ids = self._deployments()
        deleted = ev.DeploymentDeleted(ids[which % len(ids)])
        self.fleet.take(self.fleet.log.fact(deleted))

    # Nodes.

    @rule(
        number=st.integers(0, NODES - 1),
        cpu=st.sampled_from([1000, 4000, 8000]),
        gpu=st.sampled_from([0, 1]),
        region=REGIONS,
    )
    def connect(self, number: int, cpu: int, gpu: int, region: str) -> None:
        self.fleet.take(self._handshake(number, cpu, gpu, region))

    def _handshake(self, number: int, cpu: int, gpu: int, region: str) -> Commit:
        fingerprint = a_fingerprint(cpu=cpu, gpu=gpu, region=region)
        node_id, commit = self.fleet.log.connect(f"fog-{number}", fingerprint)
        self.heard_us[node_id] = self.fleet.log.now_us
        return commit

    @precondition(lambda self: self._on_line())
    @rule(which=pick, cpu=st.sampled_from([500, 2000, 8000]))
    def capacity(self, which: int, cpu: int) -> None:
        nodes = self._on_line()
        node_id = nodes[which % len(nodes)]
        epoch = self.fleet.log.epochs[node_id]
        changed = ev.NodeCapacityChanged(node_id, epoch, a_fingerprint(cpu=cpu))
        self.fleet.take(self.fleet.log.fact(changed))

    @precondition(lambda self: self._on_line())
    @rule(which=pick, percent=st.sampled_from([0, 40, 91]))
    def load(self, which: int, percent: int) -> None:
        nodes = self._on_line()
        node_id = nodes[which % len(nodes)]
        epoch, reflects = self.fleet.log.epochs[node_id], self.fleet.log.sequence
        moved = ev.NodeLoadChanged(node_id, epoch, percent, percent // 2, reflects)
        self.fleet.take(self.fleet.log.fact(moved))

    @precondition(lambda self: self._on_line())
    @rule(which=pick, states=st.lists(st.sampled_from([RUNNING, FAILED, COMPLETE]), min_size=1))
    def report(self, which: int, states: list[ReplicaState]) -> None:
        """A node says how its replicas do; what it is to stop, it stopped."""
        nodes = self._on_line()
        node_id = nodes[which % len(nodes)]
        seen = []
        for number, placed in enumerate(self.fleet.planner.fleet.on_node(node_id)):
            to_run = placed.desired in {"live", "leaving"}
            state = states[number % len(states)] if to_run else STOPPED
            seen.append(self.fleet.log.seen(placed.id, state, final=state is not RUNNING))
        self.fleet.take(self.fleet.log.report(node_id, *seen))

    @precondition(lambda self: self._nodes())
    @rule(which=pick, epoch=st.integers(0, 1 << 20))
    def report_of_an_old_epoch(self, which: int, epoch: int) -> None:
        nodes = self._nodes()
        node_id = nodes[which % len(nodes)]
        if epoch != self.fleet.log.epochs[node_id]:
            placed = [found.id for found in self.fleet.planner.fleet.on_node(node_id)]
            seen = tuple(self.fleet.log.seen(known, FAILED, final=True) for known in placed)
            number = self.fleet.log.reports.get(node_id, 0) + 1
            report = ev.NodeReported(node_id, epoch, number, seen)
            self.fleet.take(self.fleet.log.fact(report))

    # Time and schedulers.

    @rule(ms=st.sampled_from([1, 1_000, 6_000, 30_000, 90_000, 700_000]))
    def wait(self, ms: int) -> None:
        self.fleet.log.pass_ms(ms)

    @rule(limit=limits)
    def settle(self, limit: int) -> None:
        self.fleet.settle(limit)

    @rule(limit=limits)
    def one_round(self, limit: int) -> None:
        self.fleet.decide(limit=limit)

    @rule(number=st.integers(0, NODES - 1))
    def round_overtaken_by_a_handshake(self, number: int) -> None:
        decided = self.fleet.planner.decide(self.fleet.log.now_us)
        if decided is not None:
            late = self._handshake(number, 4000, 0, "us-east")
            self.fleet.log_round(decided.event, late)

    @precondition(lambda self: self._on_line())
    @rule(which=st.sets(pick, min_size=1, max_size=3), limit=limits)
    def silence(self, which: set[int], limit: int) -> None:
        nodes = self._on_line()
        observations = [
            ev.NodeSilence(node_id, self.fleet.log.epochs[node_id], self.heard_us[node_id])
            for node_id in sorted({nodes[number % len(nodes)] for number in which})
        ]
        assert self.fleet.decide(*observations, limit=limit)

    @precondition(lambda self: self._on_line())
    @rule(which=pick)
    def lose_a_node(self, which: int) -> None:
        nodes = self._on_line()
        node_id = nodes[which % len(nodes)]
        epoch, heard_us = self.fleet.log.epochs[node_id], self.heard_us[node_id]
        self.fleet.decide(ev.NodeSilence(node_id, epoch, heard_us))
        self.fleet.log.pass_ms(30_000)
        self.fleet.settle()

    @precondition(lambda self: self._nodes())
    @rule()
    def every_replica_runs(self) -> None:
        for number in range(len(self._on_line())):
            self.report(number, [RUNNING])

    @rule()
    def rival_round(self) -> None:
        """Another scheduler decided on the same state, and came second."""
        rival = self.fleet.standby.decide(self.fleet.log.now_us)
        if rival is not None:
            self.fleet.decide()
            self.fleet.log_round(rival.event)
            self.rounds.append(rival.event)

    @precondition(lambda self: self.rounds)
    @rule(which=pick)
    def old_round_again(self, which: int) -> None:
        self.fleet.log_round(self.rounds[which % len(self.rounds)])

    @rule()
    def standby_takes_over(self) -> None:
        self.fleet.planner, self.fleet.standby = self.fleet.standby, self.fleet.planner

    @invariant()
    def looks_end(self) -> None:
        """Work that is announced leads to a round, or is announced no more."""
        now_us = self.fleet.log.now_us
        if self.fleet.planner.has_work(now_us) and self.fleet.planner.decide(now_us) is None:
            assert not self.fleet.planner.has_work(now_us)

    def teardown(self) -> None:
        self.fleet.settle()
        assert not broken_laws(self.fleet.log)


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(
    max_examples=20, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
