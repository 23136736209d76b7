"""Moves to another cluster: an update whose new replicas take that cluster's quota."""

from __future__ import annotations

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import RolloutPhase
from fogbank.domain.state_encoding import decode_state, encode_state
from fogbank.domain.tenancy import Quota, Use
from fogbank.placement.explanation import explain
from tests.support.fleet import LittleFleet
from tests.support.limited_fleet import FREE, LIMITED, RUNNING, a_fleet, ask, run, used
from tests.unit.placement.test_rollouts import no_rule_broken, roll_on, update, view

ONE = Use(1000, 64, 1, 0, 1)
NOTHING = Use()


def clusters(fleet: LittleFleet, known: str) -> set[int]:
    """Return the clusters whose quota the replicas of a deployment take."""
    state = fleet.planner.fleet
    placed = (state.decisions.placements[each] for each in state.decisions.of(known).replica_ids)
    return {state.cluster_of(each) for each in placed if not state.ended(each)}


@pytest.mark.parametrize("there", [LIMITED, FREE])
def test_the_new_replica_takes_the_new_quota_before_the_old_one_gives_its_own_back(
    there: int,
) -> None:
    fleet = a_fleet(Quota(cpu_millicores=1000))
    here = FREE if there == LIMITED else LIMITED
    known = run(fleet, ask(cluster_id=here))
    update(fleet, known, cluster_id=there)
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.placements[0].replaces, "the old one runs until the new one does"
    assert (used(fleet, here), used(fleet, there)) == (ONE, ONE)
    roll_on(fleet, known)
    assert (used(fleet, here), used(fleet, there)) == (NOTHING, ONE)
    assert fleet.status(known) is RUNNING
    no_rule_broken(fleet)


def test_a_full_quota_is_waited_for_even_where_replicas_may_be_missing() -> None:
    fleet = a_fleet(Quota(cpu_millicores=1000))
    owner = run(fleet, ask())
    known = run(fleet, ask(cluster_id=FREE, rollout=RolloutSpec(max_unavailable=1)))
    update(fleet, known, cluster_id=LIMITED)
    assert fleet.settle() == [], "its own end would not make room there"
    assert view(fleet, known).phase is RolloutPhase.PROGRESSING
    deployment = fleet.planner.fleet.facts.deployments[known]
    now = explain(fleet.planner, deployment, fleet.log.now_us).now
    assert now is not None
    assert any("quota of cluster 2" in hint for hint in now.would_unblock), now.would_unblock
    fleet.fact(ev.DeploymentDeleted(owner))
    roll_on(fleet, known)
    assert clusters(fleet, known) == {LIMITED}
    no_rule_broken(fleet)


def test_a_step_that_waits_for_quota_when_its_time_has_come_gives_nothing_to_do() -> None:
    fleet = a_fleet(Quota(replicas=1))
    one_by_one = RolloutSpec(max_unavailable=1, max_surge=0, progress_deadline_ms=60_000)
    known = run(fleet, ask(3, cluster_id=FREE, rollout=one_by_one))
    update(fleet, known, cluster_id=LIMITED)
    for _ in range(4):
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(10_000)
    now_us = fleet.log.now_us
    assert fleet.decide() == (), "one has moved, the others wait for the quota"
    assert not fleet.planner.has_work(now_us)
    look_us = fleet.planner.next_look_us()
    assert look_us is None or look_us > now_us
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota()))
    assert fleet.planner.has_work(now_us)
    roll_on(fleet, known)
    assert clusters(fleet, known) == {LIMITED}
    no_rule_broken(fleet)


def test_who_may_be_evicted_for_it_is_of_the_new_cluster() -> None:
    fleet = a_fleet(Quota(cpu_millicores=1000), nodes=3)
    low_there = run(fleet, ask(priority=10, wait_for_capacity=True))
    low_here = run(fleet, ask(priority=10, cluster_id=FREE))
    known = run(fleet, ask(priority=90, cluster_id=FREE))
    update(fleet, known, cluster_id=LIMITED)
    placed = next(each for each in fleet.settle() if isinstance(each, ev.DeploymentPlaced))
    assert [each.deployment_id for each in placed.evictions] == [low_there]
    roll_on(fleet, known)
    assert clusters(fleet, known) == {LIMITED}
    assert clusters(fleet, low_here) == {FREE}
    no_rule_broken(fleet)


def test_back_again_and_a_cluster_that_is_not_there() -> None:
    fleet = a_fleet(Quota(cpu_millicores=1000))
    known = run(fleet, ask())
    for there in (FREE, LIMITED):
        update(fleet, known, cluster_id=there)
        roll_on(fleet, known)
        assert clusters(fleet, known) == {there}
    version = fleet.planner.fleet.facts.deployments[known].version
    update(fleet, known, cluster_id=99)
    assert fleet.planner.fleet.facts.deployments[known].version == version, "void"
    assert used(fleet) == ONE
    no_rule_broken(fleet)


def test_a_snapshot_amid_many_moves_counts_as_the_whole_log_does() -> None:
    """Also replicas of revisions that are kept no more stay in their own cluster."""
    fleet = a_fleet(Quota(cpu_millicores=1000))
    known = run(fleet, ask())
    for number in range(12):
        update(fleet, known, cluster_id=FREE, container_image=f"nginx:{number}")
    state = fleet.planner.fleet
    begun = FleetState()
    decode_state(begun.parts, encode_state(state.parts))
    begun.stands_at(state.position, state.due_digest)
    for cluster_id in (LIMITED, FREE):
        assert begun.used_by_cluster(cluster_id) == state.used_by_cluster(cluster_id)
    assert used(fleet) == ONE
