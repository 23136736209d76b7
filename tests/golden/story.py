"""The little log whose bytes, digests, verdicts and outcomes are kept in vectors.json."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.ids import round_event_id
from fogbank.domain.states import ReplicaState
from fogbank.placement import Planner
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec, an_id


class Story:
    """Three accepted rounds between facts, some of which are void."""

    def __init__(self) -> None:
        self.log = LittleLog()
        self.planner = Planner()

    def take(self, commit: Commit) -> None:
        self.planner.fold(commit)

    def round(self, *observations: ev.NodeSilence, instance: str = "one") -> ev.RoundDecided:
        """Decide, append, and return the round."""
        decided = self.planner.decide(self.log.now_us, observations)
        assert decided is not None
        self.append(decided.event, instance)
        return decided.event

    def append(self, event: ev.RoundDecided, instance: str) -> None:
        event_id = round_event_id(event.prev_digest, instance, event.instant_us)
        envelope = self.log.envelope(event, event_id)
        self.take(self.log.commit("scheduler", envelope, instance=instance))

    def tell(self) -> None:
        """Write the log."""
        log = self.log
        self.take(log.fact(ev.OrganizationCreated("everybody")))
        self.take(log.fact(ev.ClusterCreated("default", 1)))
        for number, region in enumerate(("us-east", "us-central", "eu-north")):
            self.take(log.connect(f"fog-{number}", a_fingerprint(region=region, gpu=number))[1])
        web = self._deploy("web", replicas=2)
        self.take(log.fact(ev.DeploymentCreated(a_spec("web", 2), an_id("owner")), web))
        self._deploy("too-many", replicas=5)
        log.pass_ms(250)
        first = self.round()
        self.append(first, "two")
        log.pass_ms(1_500)
        version = self.planner.fleet.facts.deployments[web].version
        self.take(log.fact(ev.DeploymentScaled(web, 1), expected_version=version))
        self.take(log.fact(ev.DeploymentScaled(web, 3), expected_version=version))
        slots = self.planner.fleet.decisions.of(web).slots
        placed = self.planner.fleet.decisions.placements[slots[0]]
        self.take(log.report(placed.node_id, log.seen(placed.id, ReplicaState.RUNNING)))
        self.round()
        log.pass_ms(15_000)
        silent = next(
            node
            for node in self.planner.fleet.facts.nodes.values()
            if node.id != placed.node_id and node.name != "fog-2"
        )
        self._deploy("job", replicas=1)
        self.round(ev.NodeSilence(silent.id, silent.epoch, log.now_us - 15_000_000))

    def _deploy(self, name: str, replicas: int) -> str:
        deployment_id, commit = self.log.deploy(a_spec(name, replicas), an_id(name))
        self.take(commit)
        return deployment_id
