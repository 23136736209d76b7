"""Ids of deployments that the fleet has forgotten may be used again, and no others."""

from __future__ import annotations

import pytest

from fogbank.checker import LogCommit, Report, check_log
from fogbank.domain import events as ev
from fogbank.domain.forgetting import KEPT_DELETED_US
from fogbank.domain.states import ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id

KEPT_MS = KEPT_DELETED_US // 1_000
AGAIN = an_id("again")


@pytest.fixture
def fleet() -> LittleFleet:
    """A fleet whose only deployment is deleted, its replica about to end."""
    fleet = LittleFleet()
    fleet.connect("fog-1")
    create(fleet)
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentDeleted(AGAIN))
    fleet.settle()
    return fleet


def create(fleet: LittleFleet) -> bool:
    """Create the deployment; tell whether that counts."""
    _, commit = fleet.log.deploy(a_spec("again"), AGAIN)
    return fleet.planner.fold(commit).verdicts[0].accepted


def a_round(fleet: LittleFleet) -> None:
    fleet.deploy(a_spec())
    assert fleet.decide()


def checked(fleet: LittleFleet) -> Report:
    log = fleet.log
    return check_log(
        LogCommit(commit.sequence, commit.service, commit.instance, data)
        for commit, data in zip(log.commits, log.data, strict=True)
    )


@pytest.mark.parametrize(("early_ms", "counts"), [(1, False), (0, True)])
def test_an_id_is_free_seven_days_after_the_deletion(
    fleet: LittleFleet, early_ms: int, counts: bool
) -> None:
    fleet.obey()
    fleet.log.pass_ms(KEPT_MS - early_ms)
    a_round(fleet)
    assert create(fleet) is counts
    fleet.settle()
    fleet.obey()
    report = checked(fleet)
    assert report.violations == ()
    assert report.counts.events_void == (not counts)


def test_it_is_not_while_a_replica_has_not_ended(fleet: LittleFleet) -> None:
    fleet.log.pass_ms(KEPT_MS)
    a_round(fleet)
    fleet.obey()
    assert not create(fleet)
    a_round(fleet)
    assert create(fleet)
    report = checked(fleet)
    assert report.violations == ()
    assert report.counts.events_void == 1


def test_a_report_between_a_round_and_its_facts_comes_before_it(fleet: LittleFleet) -> None:
    """The round forgets, although it was decided without knowing that the replica had ended."""
    fleet.log.pass_ms(KEPT_MS)
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    (placed,) = fleet.planner.fleet.present(AGAIN)
    seen = fleet.log.seen(placed.id, ReplicaState.STOPPED, final=True)
    fleet.fold(fleet.log.report(placed.node_id, seen))
    fleet.fold(fleet.log.round(decided.event))
    assert create(fleet)
    fleet.settle()
    report = checked(fleet)
    assert report.violations == ()
    assert report.counts.events_void == 0
