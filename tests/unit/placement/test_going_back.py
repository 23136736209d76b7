"""Which revision one bad update after another leads back to."""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.rollouts import as_wanted, is_outdated, revision_before
from fogbank.domain.states import ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.unit.placement.test_rollouts import (
    a_fleet,
    fail,
    no_rule_broken,
    revisions,
    roll_on,
    running,
    update,
    view,
)


def crash_and_go_back(fleet: LittleFleet, deployment_id: str, revision: int) -> int:
    """Ask for a revision whose replicas start and break; return where that leads back to."""
    update(fleet, deployment_id, container_image=f"broken:{revision}")
    for _ in range(2):
        fleet.settle()
        fleet.obey()
        fail(fleet, deployment_id, revision)
        fleet.log.pass_ms(400_000)
    back = [each for each in fleet.settle() if isinstance(each, ev.DeploymentRolledBack)]
    roll_on(fleet, deployment_id)
    return back[0].to_revision


def test_one_bad_update_after_another_leads_back_to_what_was_well() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    assert [crash_and_go_back(fleet, deployment_id, bad) for bad in (2, 3, 4)] == [1, 1, 1]
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    assert crash_and_go_back(fleet, deployment_id, 6) == 5
    no_rule_broken(fleet)


def test_who_went_back_says_why_the_last_of_the_new_ones_failed() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="missing:1")
    for reason in ("no such image", "no such image: missing:1"):
        fleet.settle()
        fail(fleet, deployment_id, 2, reason)
        fleet.log.pass_ms(150_000)
    roll_on(fleet, deployment_id)
    state = fleet.planner.fleet
    failed = [each for each in state.decisions.placements.values() if each.revision == 2]
    assert view(fleet, deployment_id).message == (
        f"2 replicas of revision 2 failed (slot 0 on {state.facts.nodes[failed[-1].node_id].name}: "
        "no such image: missing:1); 2 of 2 replicas are of revision 1"
    )


def test_what_only_started_and_broke_is_not_gone_back_to() -> None:
    """Its author gave revision 2 up before it was found to be bad."""
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="broken:2")
    fleet.settle()
    fleet.obey()
    fail(fleet, deployment_id, 2)
    assert crash_and_go_back(fleet, deployment_id, 3) == 1
    no_rule_broken(fleet)


def test_the_good_revision_is_not_forgotten_however_many_bad_ones_follow() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=1))
    for bad in range(2, 14):
        assert crash_and_go_back(fleet, deployment_id, bad) == 1
        assert revisions(fleet, deployment_id) == [1]
    state = fleet.planner.fleet
    meant = as_wanted(state, state.facts.deployments[deployment_id])
    assert meant.spec.container_image == "nginx:1.24"
    assert [each.number for each in view(fleet, deployment_id).revisions] == [1, *range(4, 14)]
    no_rule_broken(fleet)


def test_what_a_replica_runs_is_not_forgotten_while_it_waits_for_room() -> None:
    fleet = a_fleet(1, cpu=1500)
    deployment_id = running(fleet, a_spec(replicas=1))
    for number in range(2, 14):
        update(fleet, deployment_id, container_image=f"nginx:{number}")
        fleet.settle()
    assert revisions(fleet, deployment_id) == [1]
    assert [each.number for each in view(fleet, deployment_id).revisions] == [1, *range(4, 14)]
    fleet.connect("fog-1", a_fingerprint())
    roll_on(fleet, deployment_id)
    for number in (14, 15):
        update(fleet, deployment_id, container_image=f"nginx:{number}")
    assert [each.number for each in view(fleet, deployment_id).revisions] == [*range(6, 16)]
    no_rule_broken(fleet)


def test_what_is_no_longer_kept_is_nobody_elses_and_is_not_gone_back_to() -> None:
    """Its updates were written before they said which revisions are needed."""
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=1))
    state = fleet.planner.fleet
    deployment = state.facts.deployments[deployment_id]
    crash_and_go_back(fleet, deployment_id, 2)
    for bad in range(3, 13):
        spec = replace(deployment.spec, container_image=f"broken:{bad}")
        fleet.fact(ev.DeploymentUpdated(deployment_id, spec))
    assert deployment.revision_of(1) is None
    (known,) = state.decisions.of(deployment_id).slots.values()
    assert is_outdated(state, deployment, state.decisions.placements[known])
    fleet.settle()
    fleet.obey()
    fleet.log.pass_ms(700_000)
    fail(fleet, deployment_id, 12)
    assert not any(isinstance(each, ev.DeploymentRolledBack) for each in fleet.settle())
    assert as_wanted(state, deployment).spec.container_image == "broken:12"


def before(fleet: LittleFleet, deployment_id: str) -> int:
    state = fleet.planner.fleet
    revision = revision_before(state, state.facts.deployments[deployment_id])
    return revision.number if revision else 0


def test_a_return_without_a_number_leads_to_no_revision_that_never_ran() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=2))
    first = fleet.planner.fleet.facts.deployments[deployment_id].spec
    large = replace(first.resources, cpu_millicores=64_000)
    update(fleet, deployment_id, resources=large)
    fleet.settle()
    assert before(fleet, deployment_id) == 1
    update(fleet, deployment_id, resources=first.resources)
    roll_on(fleet, deployment_id)
    assert before(fleet, deployment_id) == 0, "2 had no room anywhere, and 1 is like 3"
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    assert before(fleet, deployment_id) == 1, "like 3, whose replicas it made needless"


def test_a_return_without_a_number_leads_to_no_revision_that_failed() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    first = fleet.planner.fleet.facts.deployments[deployment_id].spec
    assert before(fleet, deployment_id) == 0
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    assert crash_and_go_back(fleet, deployment_id, 3) == 2
    assert before(fleet, deployment_id) == 2, "what was asked for is taken back"
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    assert before(fleet, deployment_id) == 1, "3 failed, and 2 is like 4"
    assert crash_and_go_back(fleet, deployment_id, 5) == 2
    update(fleet, deployment_id, container_image=first.container_image)
    assert before(fleet, deployment_id) == 2, "like 4, and known to be good"
    update(fleet, deployment_id, container_image="nginx:1.25")
    assert before(fleet, deployment_id) == 1, "like 6, which never ran"
    assert view(fleet, deployment_id).failed_revisions == (3, 5), "failed stays failed"
    no_rule_broken(fleet)


def test_a_bad_update_leads_back_also_where_the_old_ones_went_first() -> None:
    fleet = a_fleet(4)
    alone = RolloutSpec(max_surge=0, max_unavailable=1)
    deployment_id = running(fleet, a_spec(replicas=1, rollout=alone))
    update(fleet, deployment_id, container_image="broken:2")
    outcomes = fleet.settle()
    for _ in range(2):
        assert revisions(fleet, deployment_id) == [2]
        fail(fleet, deployment_id, 2)
        assert view(fleet, deployment_id).goes_back_to == 1
        fleet.log.pass_ms(60_000)
        outcomes = fleet.settle()
    back = outcomes[0]
    assert isinstance(back, ev.DeploymentRolledBack)
    assert back.reason == "2 replicas of revision 2 failed"
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [1]
    no_rule_broken(fleet)


def test_an_update_that_was_well_is_not_given_up_for_what_breaks_or_moves_later() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=1))
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    fleet.log.pass_ms(24 * 3_600_000)
    for _ in range(2):
        fail(fleet, deployment_id, 2)
        fleet.log.pass_ms(60_000)
        fleet.settle()
        assert view(fleet, deployment_id).goes_back_to == 0
        fleet.obey()
    state = fleet.planner.fleet
    live = state.decisions.placements[state.decisions.of(deployment_id).slots[0]]
    fleet.fact(ev.NodeDraining(live.node_id))
    fleet.settle()
    assert state.decisions.of(deployment_id).leaving == {0: live.id}
    seen = fleet.log.seen(live.id, ReplicaState.STARTING)
    fleet.fold(fleet.log.report(live.node_id, replace(seen, restart_count=1)))
    fleet.log.pass_ms(700_000)
    assert not [each for each in fleet.settle() if isinstance(each, ev.DeploymentRolledBack)]
    assert revisions(fleet, deployment_id) == [2]
    fleet.obey()
    fleet.settle()
    no_rule_broken(fleet)
