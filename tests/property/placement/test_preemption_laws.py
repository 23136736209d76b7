"""Whatever fleets and priorities are: the laws of preemption, told by the checker and by hand."""

from __future__ import annotations

from random import Random

import pytest

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

PRIORITIES = (0, 20, 45, 50, 55, 60, 65, 70, 80, 95, 100)


def violations(fleet: LittleFleet) -> list[str]:
    commits = zip(fleet.log.commits, fleet.log.data, strict=True)
    report = check_log(
        LogCommit(commit.sequence, commit.service, commit.instance, data)
        for commit, data in commits
    )
    return [violation.sentence for violation in report.violations]


def a_fleet(chance: Random) -> LittleFleet:
    fleet = LittleFleet()
    fleet.fact(ev.OrganizationCreated("all"))
    for name in ("one", "two"):
        fleet.fact(ev.ClusterCreated(name, 1))
    for number in range(chance.randrange(2, 7)):
        size = chance.choice((2000, 4000, 6000))
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=size, memory=chance.choice((2048, 8192))))
    return fleet


def deploy(fleet: LittleFleet, chance: Random) -> str:
    return fleet.deploy(
        a_spec(
            "d",
            chance.choice((1, 1, 1, 2, 3)),
            cpu=chance.choice((300, 700, 900, 1500, 2500)),
            memory=chance.choice((64, 256, 1024)),
            storage=1,
            priority=chance.choice(PRIORITIES),
            cluster_id=chance.choice((1, 1, 2)),
            wait_for_capacity=chance.random() < 0.7,
            allow_colocation=chance.random() < 0.3,
        )
    )


def places(state: FleetState, deployment_id: str) -> int:
    """Count, by hand, where a deployment would fit if all who may give way to it were away."""
    deployment = state.facts.deployments[deployment_id]
    spec = deployment.spec
    found = 0
    for node in state.facts.nodes.values():
        left, closed = node.fingerprint.allocatable, False
        for placed in state.on_node(node.id):
            other = state.facts.deployments[placed.deployment_id].spec
            if placed.desired is Desired.RELEASED:
                continue
            closed |= placed.deployment_id == deployment_id and not spec.allow_colocation
            near = other.priority > spec.priority - 10
            if near or other.cluster_id != spec.cluster_id or spec.priority < 60:
                left -= placed.resources
        if not closed:
            found += (
                copies(left, spec.resources)
                if spec.allow_colocation
                else (spec.resources.fits_in(left))
            )
    return found


def copies(room: Resources, ask: Resources) -> int:
    count = 0
    while ask.fits_in(room):
        room -= ask
        count += 1
    return count


@pytest.mark.parametrize("seed", range(50))
def test_laws_of_preemption(seed: int) -> None:
    chance = Random(seed)
    fleet = a_fleet(chance)
    known: list[str] = []
    evictions = 0
    for _ in range(12):
        known += [deploy(fleet, chance) for _ in range(chance.randrange(1, 5))]
        if chance.random() < 0.2:
            fleet.fact(ev.DeploymentDeleted(chance.choice(known)))
        rounds = 0
        while outcomes := fleet.decide():
            rounds += 1
            assert rounds < 100, "they evict each other in a circle"
            evictions += sum(
                len(outcome.evictions)
                for outcome in outcomes
                if isinstance(outcome, ev.DeploymentPlaced)
            )
        if chance.random() < 0.7:
            fleet.obey()
        fleet.log.pass_ms(8_000)
    fleet.settle()
    state = fleet.planner.fleet
    for deployment_id in known:
        decision = state.decisions.of(deployment_id)
        deployment = state.facts.deployments[deployment_id]
        if deployment.deleted or decision.failed_version:
            continue
        lacking = deployment.spec.replicas - len(decision.slots)
        assert not lacking or places(state, deployment_id) < lacking, "it waits beside room"
    assert violations(fleet) == []
    assert evictions or seed, "the first seed is one with evictions"
