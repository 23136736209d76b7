"""Which revision one bad update after another leads back to."""

from __future__ import annotations

from fogbank.domain import events as ev
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.unit.placement.test_rollouts import (
    a_fleet,
    fail,
    no_rule_broken,
    roll_on,
    running,
    update,
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
