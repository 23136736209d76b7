"""What a deployment needs is the same whether it is seen at a glance or looked into."""

from __future__ import annotations

from unittest.mock import patch

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import ReplicaState
from fogbank.placement import needs
from fogbank.placement.needs import Need, need_of
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.mixed_story import tell


def test_who_is_complete_at_a_glance_needs_nothing_when_looked_into() -> None:
    state, complete, others = FleetState(), 0, 0
    for commit in tell(23, events=500).log.commits:
        for deployment_id in state.fold(commit).deployments:
            deployment = state.facts.deployments.get(deployment_id)
            if deployment is None:
                continue
            seen = need_of(state, deployment)
            if not seen.unwanted:  # then there is no reason for it
                seen = seen._replace(unwanted_reason="")
            with patch.object(needs, "_complete", lambda *_: False):
                found = need_of(state, deployment)
            assert seen == (found if found.unwanted else found._replace(unwanted_reason=""))
            complete += seen == Need() and deployment_id in state.decisions.deployments
            others += seen != Need()
    assert min(complete, others) > 50, (complete, others)


def test_as_many_replicas_as_are_wanted_may_still_be_in_slots_that_are_not() -> None:
    fleet = LittleFleet()
    for name in ("fog-1", "fog-2", "fog-3"):
        fleet.connect(name)
    deployment_id = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    fleet.obey()
    state = fleet.planner.fleet
    slots = state.decisions.of(deployment_id).slots
    ended = fleet.log.seen(slots[0], ReplicaState.STOPPED, final=True)
    node_id = state.decisions.placements[slots[0]].node_id
    fleet.fold(fleet.log.report(node_id, ended))
    fleet.fact(ev.DeploymentScaled(deployment_id, 2))
    assert len(state.present(deployment_id)) == 2
    need = need_of(state, state.facts.deployments[deployment_id])
    assert need.unwanted == (slots[2],)
    assert [slot for slot, _ in need.vacant] == [0]
