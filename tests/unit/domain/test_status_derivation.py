"""Where a deployment stands, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from fogbank.domain.fleet import FleetState
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import DeploymentStatus, Health, ReplicaState
from fogbank.domain.status import derive_health, derive_status, reason_now, replica_views
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id
from tests.support.mixed_story import tell

PENDING, SCHEDULED, RUNNING, DEGRADED, COMPLETED, FAILED, DELETED = DeploymentStatus


@pytest.fixture
def fleet() -> LittleFleet:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    return fleet


def say(fleet: LittleFleet, deployment_id: str, *states: ReplicaState) -> None:
    """Let each slot's replica report a state; an end is final."""
    decisions = fleet.planner.fleet.decisions
    for slot, state in enumerate(states):
        placed = decisions.placements[decisions.of(deployment_id).slots[slot]]
        seen = fleet.log.seen(placed.id, state, final=state.ended)
        fleet.fold(fleet.log.report(placed.node_id, seen))


def reason(fleet: LittleFleet, deployment_id: str) -> str:
    state = fleet.planner.fleet
    deployment = state.facts.deployments[deployment_id]
    status, text = derive_status(state, deployment, fleet.tracker.current[deployment_id])
    assert status is fleet.status(deployment_id)
    return text


S = ReplicaState


def test_one_replica_is_spoken_of_as_one(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    assert reason(fleet, deployment_id) == "Scheduled 1 replica"
    say(fleet, deployment_id, S.RUNNING)
    assert reason(fleet, deployment_id) == "The replica started successfully"
    say(fleet, deployment_id, S.COMPLETE)
    assert reason(fleet, deployment_id) == "The replica completed"


@pytest.mark.parametrize(
    ("states", "status", "text"),
    [
        ((), SCHEDULED, "Scheduled 3 replicas across nodes"),
        ((S.RUNNING,), SCHEDULED, "Scheduled 3 replicas across nodes"),
        ((S.RUNNING, S.STARTING, S.PREPARING), SCHEDULED, "Scheduled 3 replicas across nodes"),
        ((S.RUNNING,) * 3, RUNNING, "All 3 replicas started successfully"),
        ((S.COMPLETE, S.RUNNING, S.RUNNING), RUNNING, "All 3 replicas started successfully"),
        ((S.COMPLETE,) * 3, COMPLETED, "All 3 replicas completed"),
        ((S.REJECTED,), SCHEDULED, "Scheduled 3 replicas across nodes"),
    ],
)
def test_status_follows_from_what_replicas_do(
    fleet: LittleFleet, states: tuple[ReplicaState, ...], status: DeploymentStatus, text: str
) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=3))
    assert fleet.status(deployment_id) is PENDING
    assert fleet.changes[-1].reason == "Deployment created by user"
    fleet.settle()
    say(fleet, deployment_id, *states)
    assert fleet.status(deployment_id) is status
    assert reason(fleet, deployment_id) == text


def test_it_is_degraded_only_after_it_ran(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    say(fleet, deployment_id, S.RUNNING, S.RUNNING, S.RUNNING)
    say(fleet, deployment_id, S.FAILED)
    assert fleet.status(deployment_id) is DEGRADED
    assert reason(fleet, deployment_id) == "2 of 3 replicas running"


def test_a_status_s_change_says_what_became_of_the_replica(fleet: LittleFleet) -> None:
    """It is gone from the slot soon, and with it what its node said of it."""
    deployment_id = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    say(fleet, deployment_id, S.RUNNING, S.RUNNING, S.RUNNING)
    decisions = fleet.planner.fleet.decisions
    failed = decisions.placements[decisions.of(deployment_id).slots[1]]
    seen = replace(fleet.log.seen(failed.id, S.FAILED), reason="ended with exit code 3")
    fleet.fold(fleet.log.report(failed.node_id, seen))
    assert fleet.status(deployment_id) is DEGRADED
    assert fleet.changes[-1].reason == "2 of 3 replicas running; slot 1: ended with exit code 3"


def test_a_status_s_change_says_why_the_replica_had_to_go(fleet: LittleFleet) -> None:
    one, three = fleet.deploy(a_spec("one", cpu=1000)), fleet.deploy(a_spec("three", replicas=3))
    fleet.settle()
    fleet.obey()
    (name,) = fleet.nodes_of(one)
    facts = fleet.planner.fleet.facts
    for node in list(facts.nodes.values()):
        if node.name != name:
            fleet.fact(ev.NodeCordoned(node.id))
    fleet.fact(ev.NodeDraining(an_id(name), deadline_us=fleet.log.now_us + 1_000_000))
    fleet.log.pass_ms(1_000)
    before = len(fleet.changes)
    fleet.settle()
    said = {change.deployment_id: change.reason for change in fleet.changes[before:]}
    assert said[one] == f"Waiting to be scheduled: its node is drained ({name})"
    assert said[three] == f"2 of 3 replicas running; its node is drained ({name})"


def test_a_status_s_change_says_which_node_was_lost(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    (name,) = fleet.nodes_of(deployment_id)
    silence = fleet.silence(an_id(name))
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    assert fleet.changes[-1].reason == f"0 of 1 replicas running; slot 0: node {name} is offline"
    for node in fleet.planner.fleet.facts.nodes.values():
        fleet.fact(ev.NodeCordoned(node.id))
    fleet.settle()
    assert fleet.changes[-1].reason == f"Waiting to be scheduled: node lost ({name})"


def test_it_is_pending_again_once_every_replica_lost_its_node(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(cpu=4000))
    fleet.settle()
    fleet.obey()
    others = fleet.deploy(a_spec("other", replicas=2, cpu=4000))
    fleet.settle()
    fleet.obey()
    assert fleet.status(others) is RUNNING
    (name,) = fleet.nodes_of(deployment_id)
    facts = fleet.planner.fleet.facts
    (node_id,) = (node.id for node in facts.nodes.values() if node.name == name)
    silence = fleet.silence(node_id)
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    assert fleet.status(deployment_id) is DEGRADED
    fleet.settle()
    assert fleet.status(deployment_id) is PENDING
    assert reason(fleet, deployment_id) == "Insufficient nodes: need 1, found 0 with capacity"


def test_failed_and_then_scaled_down_it_is_pending_again_and_then_placed(
    fleet: LittleFleet,
) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=4))
    for _ in range(4):
        fleet.settle()
        fleet.log.now_us = fleet.planner.next_look_us() or fleet.log.now_us
    assert fleet.status(deployment_id) is FAILED
    assert (
        replica_views(fleet.planner.fleet, fleet.planner.fleet.facts.deployments[deployment_id])
        == ()
    )
    fleet.fact(ev.DeploymentScaled(deployment_id, 3))
    assert fleet.status(deployment_id) is PENDING
    fleet.settle()
    assert fleet.status(deployment_id) is SCHEDULED


def test_deleted_is_the_end_and_shows_the_last_replicas(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    assert fleet.status(deployment_id) is DELETED
    assert reason(fleet, deployment_id) == "Deployment deleted by user"
    fleet.settle()
    fleet.obey()
    assert fleet.status(deployment_id) is DELETED
    state = fleet.planner.fleet
    views = replica_views(state, state.facts.deployments[deployment_id])
    assert [(view.slot, view.state) for view in views] == [(0, S.STOPPED), (1, S.STOPPED)]


def test_a_waiting_slot_shows_the_id_its_next_replica_will_have(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=2))
    state = fleet.planner.fleet
    waiting = replica_views(state, state.facts.deployments[deployment_id])
    assert all(view.placed is None and view.state is S.PENDING for view in waiting)
    fleet.settle()
    placed = replica_views(state, state.facts.deployments[deployment_id])
    assert [view.id for view in placed] == [view.id for view in waiting]
    assert all(view.state is S.ASSIGNED for view in placed)


def test_replicas_of_a_silent_node_are_unknown_and_do_not_count_as_running(
    fleet: LittleFleet,
) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    fleet.obey()
    state = fleet.planner.fleet
    deployment = state.facts.deployments[deployment_id]
    (view,) = replica_views(state, deployment)
    assert view.running
    assert view.placed is not None
    fleet.decide(fleet.silence(view.placed.node_id))
    (view,) = replica_views(state, deployment)
    assert view.unknown
    assert not view.running


@pytest.mark.parametrize(
    ("status", "probe", "health"),
    [
        (PENDING, Health.UNKNOWN, Health.UNKNOWN),
        (SCHEDULED, Health.UNKNOWN, Health.UNKNOWN),
        (RUNNING, Health.UNKNOWN, Health.UNKNOWN),
        (RUNNING, Health.HEALTHY, Health.HEALTHY),
        (RUNNING, Health.UNHEALTHY, Health.UNHEALTHY),
        (DEGRADED, Health.UNKNOWN, Health.UNHEALTHY),
        (FAILED, Health.UNKNOWN, Health.UNHEALTHY),
        (COMPLETED, Health.UNKNOWN, Health.HEALTHY),
        (DELETED, Health.UNKNOWN, Health.UNKNOWN),
    ],
)
def test_health_follows_from_status_and_probes(
    fleet: LittleFleet, status: DeploymentStatus, probe: Health, health: Health
) -> None:
    container = ContainerSpec(probe=HealthProbe(ProbeKind.TCP, 80))
    deployment_id = fleet.deploy(a_spec(container=container))
    fleet.settle()
    assert health_of(fleet, deployment_id, status, probe) is health


def health_of(
    fleet: LittleFleet, deployment_id: str, status: DeploymentStatus, probe: Health
) -> Health:
    """Let a deployment's first replica be seen running, and return how the deployment does."""
    state = fleet.planner.fleet
    placed = state.decisions.placements[state.decisions.of(deployment_id).slots[0]]
    seen = ReplicaObservation(placed.id, 0, S.RUNNING, health=probe)
    fleet.fold(fleet.log.report(placed.node_id, seen))
    views = replica_views(state, state.facts.deployments[deployment_id])
    return derive_health(state, views, status)


def test_what_has_no_probe_is_healthy_when_it_runs(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    assert health_of(fleet, deployment_id, RUNNING, Health.UNKNOWN) is Health.HEALTHY


def test_the_first_slot_in_trouble_says_more_than_the_status(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    state = fleet.planner.fleet
    deployment = state.facts.deployments[deployment_id]

    def told(status: DeploymentStatus) -> str:
        return reason_now(state, deployment, replica_views(state, deployment), status, "So it is")

    assert told(RUNNING) == "So it is"
    slots = state.decisions.of(deployment_id).slots
    first, second = (state.decisions.placements[slots[slot]] for slot in (0, 1))
    fails = ReplicaObservation(
        second.id, 0, S.RUNNING, health=Health.UNHEALTHY, reason="no answer on port 80"
    )
    fleet.fold(fleet.log.report(second.node_id, fails))
    assert told(RUNNING) == "So it is; slot 1: no answer on port 80"
    full = replace(fails, health=Health.HEALTHY, reason="over its size: volume data")
    fleet.fold(fleet.log.report(second.node_id, full))
    assert told(RUNNING) == "So it is; slot 1: over its size: volume data"
    fleet.decide(fleet.silence(first.node_id))
    node = state.facts.nodes[first.node_id].name
    assert told(DEGRADED) == f"So it is; slot 0 and 1 more: node {node} is offline"
    # Nothing of it is true of one that was deleted, or waits.
    assert told(DELETED) == told(PENDING) == "So it is"


def test_a_status_is_what_the_slots_show_all_along() -> None:
    state, seen = FleetState(), set()
    for commit in tell(5, events=300).log.commits:
        folded = state.fold(commit)
        for deployment_id in folded.deployments & state.facts.deployments.keys():
            deployment = state.facts.deployments[deployment_id]
            status, text = derive_status(state, deployment, RUNNING)
            if status in {DELETED, FAILED}:
                continue
            views = replica_views(state, deployment)
            placed = [view for view in views if view.placed is not None]
            running = sum(view.running for view in views)
            done = sum(
                view.state is S.COMPLETE and view.observed is not None and view.observed.final
                for view in views
            )
            match running, done:
                case _ if not placed:
                    assert status is PENDING
                case _, all_ if all_ == len(views):
                    assert status is COMPLETED
                case some, others if some + others == len(views):
                    assert status is RUNNING
                case _:
                    assert status is DEGRADED
                    says = f"{running} of {len(views)} replicas running"
                    assert text == says or text.startswith("Preempted by")
            seen.add((status, any(view.unknown for view in views)))
    assert {(RUNNING, False), (DEGRADED, True), (PENDING, False)} <= seen
