"""Hosts whose clocks are wrong: what is decided goes by the log's time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.good_revisions import good_from_us
from fogbank.domain.states import ReplicaState
from tests.support.fleet_log import a_spec
from tests.unit.placement.test_rollouts import MIN_HEALTHY_MS, a_fleet, running, update


@pytest.mark.parametrize("hours", [-1, 1])
def test_no_replica_is_well_later_or_sooner(hours: int) -> None:
    fleet = a_fleet(3)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    state = fleet.planner.fleet
    (placed,) = (each for each in state.present(deployment_id) if each.revision == 2)
    seen = fleet.log.seen(placed.id, ReplicaState.RUNNING)
    wrong_us = fleet.log.now_us + hours * 3_600_000_000
    seen = replace(seen, started_at_us=wrong_us, observed_at_us=wrong_us)
    fleet.fold(fleet.log.report(placed.node_id, seen))
    assert fleet.settle() == []
    assert fleet.planner.next_look_us() == fleet.log.now_us + MIN_HEALTHY_MS * 1000
    fleet.log.pass_ms(MIN_HEALTHY_MS - 1)
    fleet.fold(fleet.log.report(placed.node_id, seen))  # told again, as after a new connection
    assert fleet.settle() == []
    fleet.log.pass_ms(1)
    released, _ = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("state", [ReplicaState.RUNNING, ReplicaState.FAILED])
def test_a_revision_is_proven_when_the_log_says_so(state: ReplicaState, hours: int) -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet, a_spec(replicas=1))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.log.pass_ms(1_000)
    (placed,) = fleet.planner.fleet.present(deployment_id)
    wrong_us = fleet.log.now_us + hours * 3_600_000_000
    seen = fleet.log.seen(placed.id, state, final=state.ended)
    seen = replace(seen, restart_count=1, started_at_us=wrong_us, observed_at_us=wrong_us)
    ran_us = 0 if state is ReplicaState.RUNNING else MIN_HEALTHY_MS * 1_000
    fleet.fold(fleet.log.report(placed.node_id, replace(seen, observed_at_us=wrong_us + ran_us)))
    waits_us = MIN_HEALTHY_MS * 1_000 - ran_us
    deployment = fleet.planner.fleet.facts.deployments[deployment_id]
    good = good_from_us(fleet.planner.fleet, deployment)
    assert good == {1: fleet.log.now_us + waits_us}


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("wrong", ["old", "young"])
def test_the_youngest_gives_way_by_when_it_was_placed(wrong: str, hours: int) -> None:
    fleet = a_fleet(2)
    known = {}
    for name in ("old", "young"):
        known[name] = fleet.deploy(a_spec(name, cpu=4000))
        fleet.settle()
        (placed,) = fleet.planner.fleet.present(known[name])
        seen = fleet.log.seen(placed.id, ReplicaState.RUNNING)
        off_us = hours * 3_600_000_000 if name == wrong else 0
        seen = replace(seen, started_at_us=fleet.log.now_us + off_us)
        fleet.fold(fleet.log.report(placed.node_id, seen))
        fleet.log.pass_ms(1_000)
    fleet.deploy(a_spec("high", cpu=4000, priority=80))
    (taken, *_) = fleet.settle()
    assert isinstance(taken, ev.DeploymentPlaced)
    assert [each.deployment_id for each in taken.evictions] == [known["young"]]
