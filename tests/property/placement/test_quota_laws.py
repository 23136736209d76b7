"""Whatever is asked for and limited: the laws of quotas, told by the checker and by hand."""

from __future__ import annotations

from random import Random

import pytest

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.domain.snapshots import restored, snapshot_of
from fogbank.domain.tenancy import Quota, Use, use_of
from fogbank.placement.rederive import Rederiver
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

CLUSTERS = (1, 2, 3, 4)


def a_quota(chance: Random) -> Quota:
    return Quota(
        cpu_millicores=chance.choice((None, None, 0, 1500, 4000, 9000)),
        memory_mib=chance.choice((None, None, 256, 2048)),
        replicas=chance.choice((None, None, 1, 3, 6)),
    )


class Story:
    """Two organizations, four clusters; everything happens by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.fleet = LittleFleet()
        self.known: list[str] = []
        self.evictions = 0
        across = self.chance.random() < 0.3
        self.fleet.fact(ev.PolicyActivated(Policy(preemption_across_clusters=across)))
        for name in ("one", "two"):
            self.fleet.fact(ev.OrganizationCreated(name))
        for number in CLUSTERS:
            quota = a_quota(self.chance) if number > 1 else Quota()
            self.fleet.fact(ev.ClusterCreated(f"c{number}", 1 + number // 3, quota))
        for number in range(self.chance.randrange(2, 6)):
            size = self.chance.choice((2000, 6000))
            self.fleet.connect(f"fog-{number}", a_fingerprint(cpu=size))

    @property
    def state(self) -> FleetState:
        return self.fleet.planner.fleet

    def happen(self) -> None:
        chance, fleet = self.chance, self.fleet
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                self.known.append(fleet.deploy(self.an_ask()))
            case 4 if self.known:
                fleet.fact(ev.DeploymentDeleted(chance.choice(self.known)))
            case 5 if self.known:
                fleet.fact(ev.DeploymentScaled(chance.choice(self.known), chance.randrange(5)))
            case 6:
                fleet.fact(ev.ClusterQuotaSet(chance.choice(CLUSTERS[1:]), a_quota(chance)))
            case _:
                fleet.fact(ev.OrganizationQuotaSet(chance.choice((1, 2)), a_quota(chance)))

    def an_ask(self) -> DeploymentSpec:
        chance = self.chance
        return a_spec(
            "d",
            chance.choice((1, 1, 2, 3)),
            cpu=chance.choice((300, 700, 900, 1500)),
            memory=chance.choice((64, 256)),
            storage=1,
            priority=chance.choice((0, 20, 50, 55, 60, 80, 100)),
            cluster_id=chance.choice(CLUSTERS),
            wait_for_capacity=chance.random() < 0.7,
            allow_colocation=chance.random() < 0.6,
        )

    def trouble(self) -> list[ev.NodeSilence]:
        """Let something happen to a node; return whose silence is observed."""
        chance, facts = self.chance, self.state.facts
        node = chance.choice(list(facts.nodes.values()))
        match chance.randrange(6):
            case 0:
                self.fleet.fact(ev.NodeDraining(node.id))
            case 1:
                self.fleet.fact(ev.NodeUncordoned(node.id))
            case 2:
                self.fleet.connect(node.name, node.fingerprint)
            case 3:
                return [self.fleet.silence(node.id)]
            case 4 if self.known:
                # Most of these move to another cluster, too.
                self.fleet.update(chance.choice(self.known), self.an_ask())
            case _:
                pass
        return []

    def decide(self) -> None:
        rounds = 0
        while True:
            before = {number: self.state.used_by_cluster(number) for number in CLUSTERS}
            outcomes = self.fleet.decide()
            if not outcomes:
                return
            rounds += 1
            assert rounds < 100, "they go on for ever"
            placed = [each for each in outcomes if isinstance(each, ev.DeploymentPlaced)]
            self.evictions += sum(len(each.evictions) for each in placed)
            # Who moves may go beyond a quota.
            if not any(placement.replaces for each in placed for placement in each.placements):
                self.keeps_to_quotas(before)
            assert {n: self.state.used_by_cluster(n) for n in CLUSTERS} == recount(self.state)

    def keeps_to_quotas(self, before: dict[int, Use]) -> None:
        """Nothing is added to what is above its quota afterwards."""
        facts = self.state.facts
        for number, cluster in facts.clusters.items():
            after = self.state.used_by_cluster(number)
            within(cluster.quota, before[number], after)
        for number, organization in facts.organizations.items():
            mine = [before[each] for each in organization.clusters]
            total = Use(*map(sum, zip(*mine, strict=True)))
            within(organization.quota, total, self.state.used_by_organization(number))


def within(quota: Quota, before: Use, after: Use) -> None:
    for limit, had, has in zip(quota.limits, before, after, strict=True):
        assert limit is None or has <= max(limit, had)


def recount(state: FleetState) -> dict[int, Use]:
    """Count by hand."""
    sums = {number: Use() for number in CLUSTERS}
    for placed in state.decisions.placements.values():
        wanted = placed.desired in {Desired.LIVE, Desired.LEAVING}
        if wanted and not state.ended(placed):
            cluster_id = state.cluster_of(placed)
            parts = zip(sums[cluster_id], use_of(placed.resources, 1), strict=True)
            sums[cluster_id] = Use(*map(sum, parts))
    return sums


def has_quota(state: FleetState, cluster_id: int, need: Use) -> bool:
    cluster = state.facts.clusters[cluster_id]
    organization = state.facts.organizations[cluster.organization_id]
    return all(
        limit is None or not more or had + more <= limit
        for quota, used in (
            (cluster.quota, state.used_by_cluster(cluster_id)),
            (organization.quota, state.used_by_organization(organization.id)),
        )
        for limit, had, more in zip(quota.limits, used, need, strict=True)
    )


@pytest.mark.parametrize("seed", range(24))
def test_laws_of_quotas(seed: int) -> None:
    story = Story(seed)
    for _ in range(12):
        for _ in range(story.chance.randrange(1, 6)):
            story.happen()
        story.decide()
        if story.chance.random() < 0.7:
            story.fleet.obey()
        story.fleet.log.pass_ms(8_000)
    story.decide()
    # With room on nodes for all that wait, only quotas hold anybody up.
    for number in range(40):
        story.fleet.connect(f"wide-{number}", a_fingerprint(cpu=64_000, memory=1 << 20))
    story.decide()
    waits_only_for_quota(story)
    breaks_no_rule(story)
    derived_again_by_others(story)
    assert story.evictions or seed, "the first seed is one with evictions"
    # And without quotas nothing is held up at all.
    for number in CLUSTERS:
        story.fleet.fact(ev.ClusterQuotaSet(number))
    for number in (1, 2):
        story.fleet.fact(ev.OrganizationQuotaSet(number))
    story.decide()
    for known in story.known:
        assert lacking(story.state, known) == 0


@pytest.mark.parametrize("seed", range(12))
def test_laws_of_quotas_while_nodes_are_drained_and_lost(seed: int) -> None:
    story = Story(seed)
    for _ in range(12):
        for _ in range(story.chance.randrange(1, 5)):
            story.happen()
        observations = story.trouble()
        story.fleet.decide(*observations)
        story.decide()
        if story.chance.random() < 0.7:
            story.fleet.obey()
        story.fleet.log.pass_ms(story.chance.choice((8_000, 40_000)))
    story.decide()
    breaks_no_rule(story)
    derived_again_by_others(story)


def breaks_no_rule(story: Story) -> None:
    commits = zip(story.fleet.log.commits, story.fleet.log.data, strict=True)
    report = check_log(
        LogCommit(commit.sequence, commit.service, commit.instance, data)
        for commit, data in commits
    )
    assert [str(violation) for violation in report.violations] == []


def waits_only_for_quota(story: Story) -> None:
    state = story.state
    for known in story.known:
        spec, count = state.facts.deployments[known].spec, lacking(state, known)
        need = use_of(spec.resources, count)
        assert not count or not has_quota(state, spec.cluster_id, need), "it waits beside room"


def lacking(state: FleetState, known: str) -> int:
    """Return how many replicas a deployment waits for; 0 if it failed."""
    deployment, decision = state.facts.deployments[known], state.decisions.deployments.get(known)
    if deployment.deleted or (decision and decision.failed_version == deployment.version):
        return 0
    return deployment.spec.replicas - (len(decision.slots) if decision else 0)


def derived_again_by_others(story: Story) -> None:
    """Every round comes out the same from its input, whatever facts came in between."""
    rederiver = Rederiver()
    for commit in story.fleet.log.commits:
        again = rederiver.take(commit)
        assert again is None or again.same, str(again)
    assert rederiver.fleet.decisions == story.state.decisions
    for number in CLUSTERS:
        assert rederiver.fleet.used_by_cluster(number) == story.state.used_by_cluster(number)


def test_a_state_read_back_from_a_snapshot_knows_what_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fogbank.domain.fleet.DIGEST_EVERY_ROUNDS", 1)
    story = Story(3)
    story.state.keep_pieces = True
    for _ in range(10):
        story.happen()
    story.decide()
    snapshot = snapshot_of(story.state)
    assert snapshot is not None
    again = restored(snapshot, story.state.decisions.engine)
    for number in CLUSTERS:
        assert again.used_by_cluster(number) == story.state.used_by_cluster(number)
    assert again.facts == story.state.facts
