"""How many deployments of a cluster are in each status is what counting them all comes to."""

from collections import Counter

import pytest

from fogbank.domain.fleet import FleetState
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusTracker
from services.gateway.app.cluster_counts import ClusterCounts
from tests.support.mixed_story import tell


@pytest.mark.parametrize("seed", range(2))
def test_kept_or_counted_anew_it_is_the_same(seed: int) -> None:
    fleet, tracker, kept = FleetState(), StatusTracker(), ClusterCounts()
    for commit in tell(seed, events=150).log.commits:
        folded = fleet.fold(commit)
        tracker.update(fleet, folded)
        for deployment_id in folded.deployments:
            cluster_id = fleet.facts.deployments[deployment_id].spec.cluster_id
            kept.note(deployment_id, cluster_id, tracker.current[deployment_id])
    living = [each for each in fleet.facts.deployments.values() if not each.deleted]
    clusters = {each.spec.cluster_id for each in living}
    assert clusters
    for cluster_id in clusters:
        assert kept.of(cluster_id) == Counter(
            tracker.current[each.id] for each in living if each.spec.cluster_id == cluster_id
        )


def test_who_moves_to_another_cluster_counts_there() -> None:
    counts = ClusterCounts()
    counts.note("d", 1, DeploymentStatus.RUNNING)
    counts.note("d", 2, DeploymentStatus.RUNNING)
    assert (counts.of(1), counts.of(2)) == ({}, {DeploymentStatus.RUNNING: 1})
    counts.note("d", 2, DeploymentStatus.DELETED)
    assert counts.of(2) == {}
