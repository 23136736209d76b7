"""Scenarios of nodes that come back: whose their replicas' slots are then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.states import DeploymentStatus, ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id

BETTER = a_fingerprint(cpu=64_000, memory=65_536)


def replaced_on_a_better_node() -> tuple[LittleFleet, str]:
    """Return a fleet whose first node was lost: its replica has a successor, on a better node."""
    fleet = LittleFleet()
    fleet.connect("first", a_fingerprint(cpu=2000))
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    fleet.connect("better", BETTER)
    fleet.decide(fleet.silence(an_id("first")))
    fleet.log.pass_ms(30_000)
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["better"]
    return fleet, deployment_id


def come_back(fleet: LittleFleet) -> None:
    fleet.connect("first", a_fingerprint(cpu=2000))


def shown(fleet: LittleFleet, deployment_id: str) -> dict[str, str]:
    """Return what is wanted of each replica that has not ended, by node."""
    state = fleet.planner.fleet
    return {
        state.facts.nodes[placed.node_id].name: placed.desired.value
        for placed in state.present(deployment_id)
    }


def test_of_two_that_serve_the_one_on_the_better_node_stays() -> None:
    fleet, deployment_id = replaced_on_a_better_node()
    fleet.obey()
    come_back(fleet)
    fleet.settle()
    assert shown(fleet, deployment_id) == {"first": "released", "better": "live"}


def test_a_replica_that_runs_does_not_give_way_to_one_that_has_not_started() -> None:
    fleet, deployment_id = replaced_on_a_better_node()
    come_back(fleet)
    fleet.settle()
    assert shown(fleet, deployment_id) == {"first": "live", "better": "released"}
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    fleet.obey()
    assert fleet.settle() == []
    assert fleet.nodes_of(deployment_id) == ["first"]


def test_not_to_one_of_a_newer_version_either() -> None:
    fleet, deployment_id = replaced_on_a_better_node()
    spec = fleet.planner.fleet.facts.deployments[deployment_id].spec
    fleet.update(deployment_id, replace(spec, container_image="nginx:1.25"))
    fleet.settle()
    come_back(fleet)
    fleet.settle()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    for _ in range(4):
        fleet.obey()
        fleet.log.pass_ms(5_000)
        fleet.settle()
        assert fleet.status(deployment_id) is DeploymentStatus.RUNNING, "the rollout goes on"
    decisions = fleet.planner.fleet.decisions
    assert decisions.placements[decisions.of(deployment_id).slots[0]].revision == 2


@pytest.mark.parametrize("state", [ReplicaState.ASSIGNED, ReplicaState.REJECTED])
def test_on_a_node_that_is_drained_it_runs_until_a_successor_does(state: ReplicaState) -> None:
    fleet, deployment_id = replaced_on_a_better_node()
    decisions = fleet.planner.fleet.decisions
    if state.ended:
        seen = fleet.log.seen(decisions.of(deployment_id).slots[0], state, final=True)
        fleet.fold(fleet.log.report(an_id("better"), seen))
    fleet.fact(ev.NodeDraining(an_id("first"), 0))
    come_back(fleet)
    fleet.settle()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    assert shown(fleet, deployment_id)["first"] == "leaving"
    fleet.obey()
    fleet.settle()
    assert shown(fleet, deployment_id)["first"] == "released"
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
