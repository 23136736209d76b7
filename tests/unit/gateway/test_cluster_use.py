"""What clusters book, counted in parts, is what counting all at once comes to."""

import random
from collections import Counter

import pytest

from fogbank.domain.fleet import FleetState
from fogbank.domain.status import StatusTracker
from services.gateway.app.cluster_use import ClusterUse
from tests.support.mixed_story import tell


@pytest.mark.parametrize("seed", range(2))
def test_counted_in_parts_or_anew_it_is_the_same(seed: int) -> None:
    story, chance = tell(seed, events=150), random.Random(seed)
    fleet, tracker, use = FleetState(), StatusTracker(), ClusterUse()
    for commit in story.log.commits:
        folded = fleet.fold(commit)
        tracker.update(fleet, folded)
        use.touch(folded.deployments)
        use.count(fleet, tracker.current, chance.choice((0, 1, 100)))
    while not use.count(fleet, tracker.current, 3):
        pass
    anew = ClusterUse()
    anew.touch(fleet.facts.deployments.keys())
    assert anew.count(fleet, tracker.current, len(fleet.facts.deployments))
    booked = use.of([1])
    assert booked == anew.of([1])
    counted = fleet.used_by_cluster(1)
    assert booked.used.cpu_millicores == counted.cpu_millicores > 0
    assert booked.replicas == counted.replicas
    living = [each for each in fleet.facts.deployments.values() if not each.deleted]
    assert booked.deployments == Counter(tracker.current[each.id] for each in living)
