"""A look that raises half-way leaves nothing behind in its round: neither room nor evictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fogbank.domain import events as ev
from fogbank.placement import looks, placements, preemption
from fogbank.placement.rederive import Rederiver
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.laws import broken_laws


def raising_for(deployment_id: str) -> Callable[..., Any]:
    """Return `placements_on` with a fault that one deployment shows."""
    intact = placements.placements_on

    def faulty(fleet: Any, room: Any, deployment: Any, slots: Any, chosen: Any) -> Any:
        if deployment.id == deployment_id:
            raise ZeroDivisionError
        return intact(fleet, room, deployment, slots, chosen)

    return faulty


def decide(fleet: LittleFleet) -> tuple[ev.Outcome, ...]:
    """Decide and append a round of which a look raises."""
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    assert [type(error) for _, error in decided.errors] == [ZeroDivisionError]
    fleet.fold(fleet.log.round(decided.event, causes=decided.causes))
    return decided.event.outcomes


def assert_derived_again(fleet: LittleFleet) -> None:
    rederiver = Rederiver()
    found = [one for commit in fleet.log.commits if (one := rederiver.take(commit)) is not None]
    assert [str(one) for one in found if not one.same] == []


def test_nobody_gets_the_room_of_an_eviction_that_did_not_come_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(cpu=1000))
    low = fleet.deploy(a_spec("low", cpu=1000))
    fleet.settle()
    fleet.obey()
    broken = fleet.deploy(a_spec("broken", cpu=600, priority=90, wait_for_capacity=True))
    second = fleet.deploy(a_spec("second", cpu=400, priority=80))
    monkeypatch.setattr(preemption, "placements_on", raising_for(broken))
    deferred, placed = decide(fleet)
    assert isinstance(deferred, ev.DeploymentDeferred)
    assert deferred.reason == "Scheduling failed: ZeroDivisionError"
    assert isinstance(placed, ev.DeploymentPlaced)
    assert [each.deployment_id for each in placed.evictions] == [low]
    assert fleet.nodes_of(second) == ["a"]
    assert not broken_laws(fleet.log)
    assert_derived_again(fleet)


def test_the_next_gets_the_room_that_a_broken_look_had_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(cpu=1000))
    broken = fleet.deploy(a_spec("broken", cpu=1000, priority=50))
    fine = fleet.deploy(a_spec("fine", cpu=1000))
    monkeypatch.setattr(looks, "placements_on", raising_for(broken))
    decide(fleet)
    assert fleet.nodes_of(fine) == ["a"]


def test_a_mover_that_raises_takes_no_room_either(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(cpu=1000))
    moving = fleet.deploy(a_spec(cpu=1000))
    fleet.settle()
    fleet.obey()
    fleet.connect("b", a_fingerprint(cpu=1000))
    fleet.fact(ev.NodeDraining(an_id("a")))
    fine = fleet.deploy(a_spec("fine", cpu=1000))
    monkeypatch.setattr(looks, "placements_on", raising_for(moving))
    decide(fleet)
    assert fleet.nodes_of(moving) == ["a"]
    assert fleet.nodes_of(fine) == ["b"]


def test_an_outcome_too_large_for_a_commit_is_not_decided_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(cpu=1000))
    for _ in range(4):
        fleet.deploy(a_spec("old", cpu=250))
    fleet.settle()
    fleet.obey()
    for known in list(fleet.planner.fleet.facts.deployments):
        fleet.fact(ev.DeploymentDeleted(known))
    fleet.settle()
    large = fleet.deploy(
        a_spec("large", 2, cpu=250, allow_colocation=True, priority=50, wait_for_capacity=True)
    )
    fine = fleet.deploy(a_spec("fine", cpu=250))
    monkeypatch.setattr("fogbank.placement.engine.MOST_NAMES", 7)
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.fold(fleet.log.round(decided.event))
    waits = fleet.planner.fleet.decisions.of(large)
    assert waits.reason == "Scheduling failed: OutcomeTooLargeError"
    assert fleet.nodes_of(fine) == ["a"]
