"""A long, mixed story of a fleet, told by a seed and bounded by counts alone.

Two schedulers decide on one log: each in its turn, both at once, late, and once more what the log
has already. Facts come in between. Whatever machine tells it, a seed's story is the same.

As a program it derives the rounds of a story again and prints what came of it, for tests that run
it under other circumstances.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.good_revisions import needed_revisions
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import Rederived
from fogbank.domain.states import ReplicaState
from fogbank.placement import Planner
from fogbank.placement.rederive import Rederiver
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

REGIONS = ("us-east", "us-central", "us-west", "eu-north")
CLUSTERS = (1, 2)
LIMITS = (3, 20, 384)
MAX_DEPLOYMENTS = 60


@dataclass
class MixedStory:
    """The log so far, and the two schedulers that follow it."""

    chance: Random
    log: LittleLog = field(default_factory=LittleLog)
    planners: tuple[Planner, Planner] = field(default_factory=lambda: (Planner(), Planner()))
    events: int = 0
    rounds: list[ev.RoundDecided] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)

    def take(self, commit: Commit) -> bool:
        """Let both schedulers take a commit in; tell whether its first event counts."""
        self.events += len(commit.envelopes)
        verdicts = [planner.fold(commit).verdicts for planner in self.planners]
        assert verdicts[0] == verdicts[1]
        return verdicts[0][0].accepted

    def count(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1

    # Facts.

    def connect(self, number: int) -> None:
        chance = self.chance
        cpu = chance.choice((2000, 4000, 16000))
        host = a_fingerprint(
            cpu=cpu, memory=cpu * 2, gpu=chance.choice((0, 0, 2)), region=chance.choice(REGIONS)
        )
        self.take(self.log.connect(f"fog-{number}", host)[1])

    def deploy(self) -> None:
        chance = self.chance
        spec = a_spec(
            "d",
            chance.randrange(1, 6),
            cpu=chance.randrange(100, 3000, 7),
            memory=chance.randrange(128, 4000, 11),
            storage=1,
            gpu=chance.choice((0, 0, 0, 1)),
            priority=chance.randrange(101),
            region=chance.choice(REGIONS),
            wait_for_capacity=chance.random() < 0.5,
            labels={"team": "b", "app": "a"},
        )
        self.take(self.log.deploy(spec)[1])

    def change_a_deployment(self) -> None:
        wanted = [known.id for known in self._fleet.facts.deployments.values() if not known.deleted]
        if not wanted:
            self.deploy()
            return
        if len(wanted) > MAX_DEPLOYMENTS or self.chance.random() < 0.4:
            event: ev.Event = ev.DeploymentDeleted(self.chance.choice(wanted))
        else:
            event = ev.DeploymentScaled(self.chance.choice(wanted), self.chance.randrange(1, 7))
        self.count("deployments changed")
        self.take(self.log.fact(event))

    def update_a_deployment(self) -> None:
        """Let its replicas be others, and half of the time move it to the other cluster."""
        wanted = [known for known in self._fleet.facts.deployments.values() if not known.deleted]
        if not wanted:
            return
        known, chance = self.chance.choice(wanted), self.chance
        spec = replace(
            known.spec,
            container_image=chance.choice(("nginx:1.24", "nginx:1.25", "nginx:1.26")),
            cluster_id=chance.choice(CLUSTERS),
        )
        moves = spec.cluster_id != known.spec.cluster_id
        self.count("deployments moved" if moves else "deployments updated")
        needed = needed_revisions(self._fleet, known)
        self.take(self.log.fact(ev.DeploymentUpdated(known.id, spec, known.env_key, needed)))

    def change_a_node(self) -> None:
        node, chance = self._a_node(), self.chance
        epoch = self.log.epochs[node.id]
        if chance.random() < 0.2:
            cpu = chance.choice((1000, 4000, 16000))
            self.count("capacities changed")
            changed = ev.NodeCapacityChanged(node.id, epoch, a_fingerprint(cpu=cpu))
            self.take(self.log.fact(changed))
            return
        percents = (chance.randrange(101), chance.randrange(101))
        self.count("loads changed")
        self.take(self.log.fact(ev.NodeLoadChanged(node.id, epoch, *percents, self.log.sequence)))

    def report(self) -> None:
        """A node says how its replicas do; mostly they run, and what it is to stop, it stopped."""
        node = self._a_node()
        seen = []
        for placed in self._fleet.on_node(node.id):
            if placed.desired != "live":
                state = ReplicaState.STOPPED
            else:
                broken = self.chance.random() < 0.1
                ends = (ReplicaState.FAILED, ReplicaState.COMPLETE)
                state = self.chance.choice(ends) if broken else ReplicaState.RUNNING
            seen.append(self.log.seen(placed.id, state, final=state is not ReplicaState.RUNNING))
        self.take(self.log.report(node.id, *seen))

    def change_the_policy(self) -> None:
        chance = self.chance
        policy = replace(
            Policy(),
            version=self.log.sequence,
            resource_weight=chance.choice((0.1, 0.4, 0.7)),
            busy_load_percent=chance.choice((60, 90)),
            lost_after_ms=chance.choice((15_000, 30_000)),
            retry_backoff_ms=chance.choice(((1_000,), (1_000, 2_000, 4_000))),
        )
        self.count("policies")
        self.take(self.log.fact(ev.PolicyActivated(policy)))

    # Rounds.

    def decide(self, *observations: ev.NodeSilence) -> bool:
        """One of the two decides; at times a fact, or the other one, comes in between."""
        chance = self.chance
        one, two = chance.sample(self.planners, 2)
        limit = chance.choice(LIMITS)
        decided = one.decide(self.log.now_us, observations, limit)
        if decided is None:
            return False
        assert not decided.errors
        rival = two.decide(self.log.now_us, observations) if chance.random() < 0.1 else None
        if chance.random() < 0.2:
            self.count("rounds overtaken by facts")
            chance.choice((self.deploy, self.change_a_node, self.report))()
        assert self.take(self._round(decided.event))
        self.rounds.append(decided.event)
        if rival is not None:
            self.count("rival rounds")
            assert not self.take(self._round(rival.event))
        if chance.random() < 0.05:
            self.count("old rounds")
            assert not self.take(self._round(chance.choice(self.rounds)))
        return True

    def _round(self, event: ev.RoundDecided) -> Commit:
        return self.log.round(event, self.chance.choice(("one", "two")))

    def lose_a_node(self) -> None:
        node = self._a_node()
        if self._fleet.offline_since_us(node) is None:
            self.count("nodes lost")
            self.decide(ev.NodeSilence(node.id, node.epoch, self.log.now_us))

    def return_a_node(self) -> None:
        offline = [
            node
            for node in self._fleet.facts.nodes.values()
            if self._fleet.offline_since_us(node) is not None
        ]
        if offline:
            node = self.chance.choice(offline)
            self.count("nodes back")
            self.take(self.log.connect(node.name, node.fingerprint)[1])

    # The story.

    @property
    def _fleet(self) -> FleetState:
        return self.planners[0].fleet

    def _a_node(self) -> NodeFact:
        return self.chance.choice(list(self._fleet.facts.nodes.values()))

    def step(self) -> None:
        """Let something happen."""
        steps = (
            (self.deploy, 30),
            (self.change_a_deployment, 14),
            (self.update_a_deployment, 6),
            (self.change_a_node, 14),
            (self.report, 22),
            (self.lose_a_node, 4),
            (self.return_a_node, 4),
            (self.change_the_policy, 1),
        )
        (chosen,) = self.chance.choices(
            [step for step, _ in steps], [weight for _, weight in steps]
        )
        chosen()
        self.log.pass_ms(self.chance.choice((0, 1, 900, 2_500, 9_000)))
        for _ in range(self.chance.randrange(4)):
            if not self.decide():
                break


def tell(
    seed: int, *, events: int, nodes: int = 30, kind: type[MixedStory] = MixedStory
) -> MixedStory:
    """Tell the story of a seed until it has at least so many events."""
    story = kind(Random(seed))
    story.take(story.log.fact(ev.OrganizationCreated("all")))
    for cluster_id in CLUSTERS:
        story.take(story.log.fact(ev.ClusterCreated(f"cluster-{cluster_id}", 1)))
    for number in range(nodes):
        story.connect(number)
    story.deploy()
    while story.events < events:
        story.step()
    return story


def rederive(commits: list[Commit]) -> tuple[Rederiver, list[Rederived]]:
    """Derive every round of a log again."""
    rederiver = Rederiver()
    found = [rederiver.take(commit) for commit in commits]
    return rederiver, [each for each in found if each is not None]


def store(log: LittleLog, path: Path) -> None:
    """Keep a log's bytes in a file."""
    rows = [
        (commit.sequence, commit.service, commit.instance, data)
        for commit, data in zip(log.commits, log.data, strict=True)
    ]
    path.write_bytes(pickle.dumps(rows))


def load(path: Path) -> list[Commit]:
    """Return the commits of a file that `store` made."""
    return [decode_commit(*row) for row in pickle.loads(path.read_bytes())]  # noqa: S301  our own


def main() -> None:
    """Print how many rounds came out the same, and then the others."""
    _, found = rederive(load(Path(sys.argv[1])))
    lines = [str(sum(each.same for each in found)), *(str(each) for each in found if not each.same)]
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
