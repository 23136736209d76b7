"""How many deployments are in each status is what counting them all comes to."""

from collections import Counter
from dataclasses import replace

import pytest

from fogbank.domain.deployment import PRIORITY_CLASSES, DeploymentSpec, priority_class
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusTracker
from services.gateway.app.deployment_counts import DeploymentCounts
from tests.support.fleet_log import a_spec
from tests.support.mixed_story import tell


@pytest.mark.parametrize("seed", range(2))
def test_kept_or_counted_anew_it_is_the_same(seed: int) -> None:
    fleet, tracker, kept = FleetState(), StatusTracker(), DeploymentCounts()
    for commit in tell(seed, events=150).log.commits:
        folded = fleet.fold(commit)
        tracker.update(fleet, folded)
        for deployment_id in folded.deployments:
            kept.note(fleet.facts.deployments[deployment_id], tracker.current[deployment_id])
        waiting = Counter(
            priority_class(fleet.facts.deployments[deployment_id].spec.priority)
            for deployment_id, status in tracker.current.items()
            if status is DeploymentStatus.PENDING
        )
        assert kept.pending == {name: waiting[name] for name in PRIORITY_CLASSES}
        owners = Counter(
            fleet.facts.deployments[deployment_id].owner_id
            for deployment_id, status in tracker.current.items()
            if status is DeploymentStatus.PENDING
        )
        assert {owner: kept.pending_of(owner) for owner in owners} == owners
    living = [each for each in fleet.facts.deployments.values() if not each.deleted]
    clusters = {each.spec.cluster_id for each in living}
    assert clusters
    for cluster_id in clusters:
        assert kept.of_cluster(cluster_id) == Counter(
            tracker.current[each.id] for each in living if each.spec.cluster_id == cluster_id
        )


def deployment(spec: DeploymentSpec) -> DeploymentFact:
    return DeploymentFact("d", spec, "ann", "", version=1, created_at_us=1, created_position=1)


def test_who_moves_to_another_cluster_counts_there() -> None:
    counts, here = DeploymentCounts(), a_spec()
    there = replace(here, cluster_id=2)
    counts.note(deployment(here), DeploymentStatus.RUNNING)
    counts.note(deployment(there), DeploymentStatus.RUNNING)
    assert (counts.of_cluster(1), counts.of_cluster(2)) == ({}, {DeploymentStatus.RUNNING: 1})
    counts.note(deployment(there), DeploymentStatus.DELETED)
    assert counts.of_cluster(2) == {}


def test_who_waits_counts_in_its_class_of_priority() -> None:
    counts = DeploymentCounts()
    counts.note(deployment(a_spec(priority=50)), DeploymentStatus.PENDING)
    assert counts.pending == {"low": 0, "medium": 1, "high": 0}
    assert (counts.pending_of("ann"), counts.pending_of("bob")) == (1, 0)
    counts.note(deployment(a_spec(priority=60)), DeploymentStatus.PENDING)
    assert counts.pending == {"low": 0, "medium": 0, "high": 1}
    counts.note(deployment(a_spec(priority=60)), DeploymentStatus.SCHEDULED)
    assert counts.pending == {"low": 0, "medium": 0, "high": 0}
    assert counts.pending_of("ann") == 0
