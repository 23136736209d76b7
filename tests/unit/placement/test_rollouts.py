"""Rolling updates: who gives way to whom, and when."""

from __future__ import annotations

from dataclasses import replace

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from fogbank.domain.deployment import Constraint, DeploymentSpec, RolloutSpec
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import RolloutPhase, RolloutView, rollout_view
from fogbank.domain.states import ConstraintOperator, DeploymentStatus, Health, ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

MIN_HEALTHY_MS = 5_000


def no_rule_broken(fleet: LittleFleet) -> None:
    """Let the checker, which knows nothing of the folds, read the whole log."""
    report = check_log(
        [
            LogCommit(commit.sequence, commit.service, commit.instance, data)
            for commit, data in zip(fleet.log.commits, fleet.log.data, strict=True)
        ]
    )
    assert report.clean, report.violations


def a_fleet(nodes: int, cpu: int = 4000) -> LittleFleet:
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=cpu))
    return fleet


def running(fleet: LittleFleet, spec: DeploymentSpec) -> str:
    deployment_id = fleet.deploy(spec)
    fleet.settle()
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    return deployment_id


def update(fleet: LittleFleet, deployment_id: str, **changes: object) -> None:
    deployment = fleet.planner.fleet.facts.deployments[deployment_id]
    spec = replace(deployment.spec, **changes)  # type: ignore[arg-type]
    fleet.update(deployment_id, spec)


def view(fleet: LittleFleet, deployment_id: str) -> RolloutView:
    return rollout_view(fleet.planner.fleet, fleet.planner.fleet.facts.deployments[deployment_id])


def pass_until_well(fleet: LittleFleet) -> None:
    fleet.log.pass_ms(MIN_HEALTHY_MS)


def roll_on(fleet: LittleFleet, deployment_id: str, steps: int = 40) -> None:
    """Let agents obey and time pass until a rollout is over."""
    for _ in range(steps):
        fleet.settle()
        fleet.obey()
        pass_until_well(fleet)
        if not fleet.settle() and view(fleet, deployment_id).phase is not RolloutPhase.PROGRESSING:
            return
    raise AssertionError(view(fleet, deployment_id))


def revisions(fleet: LittleFleet, deployment_id: str) -> list[int]:
    state = fleet.planner.fleet
    slots = state.decisions.of(deployment_id).slots
    return [state.decisions.placements[slots[slot]].revision for slot in sorted(slots)]


def test_replicas_give_way_one_by_one_and_only_to_those_that_are_well() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="nginx:1.25")
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.revision == 2
    (placement,) = placed.placements
    assert (placement.slot, placement.generation) == (0, 2)
    assert placement.replaces
    assert fleet.settle() == [], "nothing more before the first is well"
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    assert fleet.settle() == [], "it runs, and isn't well yet"
    assert view(fleet, deployment_id).waits_for == "slot 0 on fog-3 to have been well for 5 s"
    due_us = fleet.planner.next_look_us()
    assert due_us == fleet.log.now_us + MIN_HEALTHY_MS * 1000
    pass_until_well(fleet)
    released, following = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.replica_ids == (placement.replaces,)
    assert released.reason == "Replaced by revision 2"
    assert isinstance(following, ev.DeploymentPlaced)
    assert following.placements[0].slot == 1
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2, 2]
    assert view(fleet, deployment_id).waits_for == ""
    assert {change.new for change in fleet.changes[3:]} == set(), "it ran all the time"
    no_rule_broken(fleet)


def test_a_fleet_without_a_spare_node_updates_on_the_same_nodes() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="nginx:1.25")
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2]
    no_rule_broken(fleet)


def test_without_room_for_one_more_the_old_one_goes_first_if_it_may() -> None:
    fleet = a_fleet(2, cpu=1500)
    patient = running(fleet, a_spec(replicas=2))
    update(fleet, patient, container_image="nginx:1.25")
    assert fleet.settle() == [], "none may be missing, and there is no room for one more"
    assert not fleet.planner.has_work(fleet.log.now_us), "it does not look again and again"
    stuck = view(fleet, patient)
    assert stuck.phase is RolloutPhase.PROGRESSING
    assert stuck.waits_for == "room for a replica of revision 2"
    assert (stuck.gives_up_us, stuck.goes_back_to) == (0, 0), "it waits without an end"
    update(fleet, patient, rollout=RolloutSpec(max_unavailable=1))
    released, placed = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Gives way to revision 2"
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.placements[0].starts_after == released.replica_ids
    assert view(fleet, patient).available == 1
    roll_on(fleet, patient)
    assert revisions(fleet, patient) == [2, 2]
    no_rule_broken(fleet)


def test_room_that_appears_lets_a_rollout_go_on() -> None:
    fleet = a_fleet(2, cpu=1500)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="nginx:1.25")
    assert fleet.settle() == []
    fleet.connect("fog-9", a_fingerprint(cpu=1500))
    assert fleet.planner.has_work(fleet.log.now_us)
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2]


def test_what_replicas_need_not_know_replaces_none() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, labels={"team": "edge"}, priority=70)
    assert fleet.settle() == []
    assert view(fleet, deployment_id).revision == 1
    assert view(fleet, deployment_id).phase is RolloutPhase.DONE


def fail(fleet: LittleFleet, deployment_id: str, revision: int, reason: str = "") -> None:
    """Let the replicas of a revision break for good."""
    state = fleet.planner.fleet
    for placed in list(state.decisions.placements.values()):
        if (
            placed.deployment_id == deployment_id
            and placed.revision == revision
            and not state.ended(placed)
        ):
            seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
            fleet.fold(fleet.log.report(placed.node_id, replace(seen, reason=reason)))


def test_new_ones_that_fail_lead_back_and_nobody_was_missing() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="broken:1")
    for _ in range(2):
        fleet.settle()
        fail(fleet, deployment_id, 2)
        assert view(fleet, deployment_id).available == 3
        fleet.log.pass_ms(150_000)
    outcomes = fleet.settle()
    back = outcomes[0]
    assert isinstance(back, ev.DeploymentRolledBack)
    assert (back.from_revision, back.to_revision) == (2, 1)
    assert back.reason == "2 replicas of revision 2 failed"
    assert isinstance(outcomes[1], ev.ReplicasRestored)
    roll_on(fleet, deployment_id)
    found = view(fleet, deployment_id)
    assert found.phase is RolloutPhase.ROLLED_BACK
    assert (found.updated, found.available, found.leaving) == (3, 3, 0)
    assert revisions(fleet, deployment_id) == [1, 1, 1]
    no_rule_broken(fleet)


def test_new_ones_that_never_get_well_lead_back_at_the_deadline() -> None:
    fleet = a_fleet(3)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="slow:1")
    fleet.settle()
    due_us = fleet.planner.next_look_us()
    assert due_us == fleet.log.now_us + 600_000_000
    slow = view(fleet, deployment_id)
    assert slow.waits_for == "slot 0 on fog-2 to be well: assigned"
    assert (slow.gives_up_us, slow.goes_back_to) == (due_us, 1)
    fleet.log.pass_ms(600_000)
    back = fleet.settle()[0]
    assert isinstance(back, ev.DeploymentRolledBack)
    assert back.reason == "A replica of revision 2 wasn't well in time"


def test_what_must_not_go_back_goes_on_trying() -> None:
    fleet = a_fleet(3)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="slow:1", rollout=RolloutSpec(auto_rollback=False))
    fleet.settle()
    fleet.log.pass_ms(6_000_000)
    assert not any(isinstance(each, ev.DeploymentRolledBack) for each in fleet.settle())


def test_a_second_update_replaces_successors_that_are_not_well() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    update(fleet, deployment_id, container_image="nginx:1.26")
    fleet.settle()
    assert 3 in revisions(fleet, deployment_id)
    assert 2 not in revisions(fleet, deployment_id)
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [3, 3]
    no_rule_broken(fleet)


def test_an_update_taken_back_restores_those_that_were_leaving() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    update(fleet, deployment_id, container_image="nginx:1.24")
    outcomes = fleet.settle()
    assert isinstance(outcomes[0], ev.ReplicasRestored)
    assert view(fleet, deployment_id).available == 2
    assert view(fleet, deployment_id).phase is RolloutPhase.DONE
    assert revisions(fleet, deployment_id) == [1, 1], "they are just what is asked for"


def test_scaling_and_deleting_during_a_rollout() -> None:
    fleet = a_fleet(6)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    fleet.fact(ev.DeploymentScaled(deployment_id, 4))
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2, 2, 2]
    update(fleet, deployment_id, resources=Resources(500, 256, 5))
    fleet.settle()
    fleet.fact(ev.DeploymentScaled(deployment_id, 1))
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [3]
    update(fleet, deployment_id, container_image="nginx:1.27")
    fleet.settle()
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.obey()
    assert all(
        fleet.planner.fleet.ended(placed)
        for placed in fleet.planner.fleet.decisions.placements.values()
    )
    no_rule_broken(fleet)


def test_a_node_lost_during_a_rollout() -> None:
    fleet = a_fleet(5)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    state = fleet.planner.fleet
    lost = state.decisions.placements[state.decisions.of(deployment_id).slots[0]].node_id
    fleet.log.pass_ms(1)
    fleet.decide(fleet.silence(lost))
    fleet.log.pass_ms(60_000)
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2, 2]
    assert view(fleet, deployment_id).available == 3


def test_nobody_is_evicted_beside_what_the_rollout_itself_lets_go() -> None:
    """Room that a round frees counts from the next one on: evicting others meanwhile is in vain."""
    fleet = a_fleet(3, cpu=1000)
    web = fleet.deploy(a_spec(replicas=2, cpu=1000, priority=80))
    fleet.settle()
    low = fleet.deploy(a_spec("low", 1, cpu=1000, priority=0))
    fleet.settle()
    state = fleet.planner.fleet
    second = state.decisions.placements[state.decisions.of(web).slots[1]]
    seen = fleet.log.seen(second.id, ReplicaState.RUNNING)
    fleet.fold(fleet.log.report(second.node_id, seen))
    update(fleet, web, container_image="nginx:1.25")
    assert fleet.decide()
    assert state.decisions.of(low).slots, "evicted although room has just been freed"
    fleet.settle()
    no_rule_broken(fleet)


def test_nobody_evicts_who_is_leaving_since_this_very_round() -> None:
    """The first rollout evicts, so that victims are known before the second one decides."""
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(cpu=2000))
    fleet.connect("fog-1", a_fingerprint(cpu=2000))

    def on(*names: str) -> tuple[Constraint, ...]:
        return (Constraint("node", ConstraintOperator.IN, names),)

    ids = [
        running(fleet, spec)
        for spec in (
            a_spec("a", priority=80, constraints=on("fog-0")),
            a_spec("moves", priority=20, constraints=on("fog-1", "fog-2")),
            a_spec("c", priority=80, constraints=on("fog-1")),
        )
    ]
    assert ids == sorted(ids), "rollouts take turns by id"
    a, moves, c = ids
    victim = running(fleet, a_spec("victim", constraints=on("fog-0")))
    fleet.connect("fog-2", a_fingerprint(cpu=1000))
    for known in (a, moves, c):
        update(fleet, known, container_image="nginx:1.25")
    outcomes = fleet.decide()
    placed = {
        each.deployment_id: each for each in outcomes if isinstance(each, ev.DeploymentPlaced)
    }
    assert [each.deployment_id for each in placed[a].evictions] == [victim]
    assert placed[moves].placements[0].replaces
    assert c not in placed, "it evicts who serves until its successor is well"
    assert view(fleet, moves).available == 1
    fleet.settle()
    no_rule_broken(fleet)


def test_two_successors_of_one_round_get_nodes_of_their_own() -> None:
    fleet = a_fleet(3)
    deployment_id = running(
        fleet, a_spec(replicas=2, strategy="binpack", rollout=RolloutSpec(max_surge=2))
    )
    fleet.connect("large", a_fingerprint(cpu=5000))
    update(fleet, deployment_id, container_image="nginx:1.25")
    placed = [one for one in fleet.decide() if isinstance(one, ev.DeploymentPlaced)]
    assert len({one.placements[0].node_id for one in placed}) == len(placed) == 2
    roll_on(fleet, deployment_id)
    no_rule_broken(fleet)


def test_what_was_leaving_on_a_silent_node_is_not_taken_back() -> None:
    """It waits for its node; once that is lost, it is let go and what serves is replaced."""
    fleet = a_fleet(3)
    web = running(fleet, a_spec(replicas=1))
    update(fleet, web, container_image="nginx:1.25")
    fleet.settle()
    fleet.obey()
    state = fleet.planner.fleet
    leaving = state.decisions.placements[state.decisions.of(web).leaving[0]]
    update(fleet, web, container_image="nginx")
    assert fleet.status(web) is not DeploymentStatus.FAILED
    fleet.decide(fleet.silence(leaving.node_id))
    fleet.settle()
    assert leaving.desired == "leaving", "restored on a node that is silent"
    fleet.log.pass_ms(30_000)
    fleet.settle()
    assert leaving.desired == "released"
    roll_on(fleet, web)
    assert revisions(fleet, web) == [3]
    no_rule_broken(fleet)


def probes_pass(fleet: LittleFleet) -> None:
    """Let agents say of all that runs that it is healthy."""
    state = fleet.planner.fleet
    for node_id in list(state.facts.nodes):
        seen = [
            replace(fleet.log.seen(placed.id, ReplicaState.RUNNING), health=Health.HEALTHY)
            for placed in state.on_node(node_id)
            if state.replica_state(placed) is ReplicaState.RUNNING
        ]
        fleet.fold(fleet.log.report(node_id, *seen))


def test_a_successor_with_a_probe_counts_only_once_that_passes() -> None:
    fleet = a_fleet(3)
    container = ContainerSpec(probe=HealthProbe(ProbeKind.TCP, 80))
    deployment_id = running(fleet, a_spec(replicas=2))
    update(fleet, deployment_id, container=container)
    for _ in range(5):
        fleet.settle()
        fleet.obey()
        pass_until_well(fleet)
    assert sorted(revisions(fleet, deployment_id)) == [1, 2]
    for _ in range(5):
        probes_pass(fleet)
        pass_until_well(fleet)
        fleet.settle()
        fleet.obey()
    assert revisions(fleet, deployment_id) == [2, 2]
    no_rule_broken(fleet)


def test_what_went_with_its_node_is_relieved_by_nobody() -> None:
    fleet = a_fleet(3, cpu=1500)
    deployment_id = running(fleet, a_spec(replicas=3))
    placements = fleet.planner.fleet.decisions.placements
    for slot in (0, 1):
        on = placements[fleet.planner.fleet.decisions.of(deployment_id).slots[slot]].node_id
        fleet.fact(ev.NodeRemoved(on))
    update(fleet, deployment_id, container_image="nginx:1.25")
    fleet.settle()
    fleet.connect("fog-9", a_fingerprint(cpu=1500))
    (placed,) = (each for each in fleet.settle() if isinstance(each, ev.DeploymentPlaced))
    assert [placement.slot for placement in placed.placements] == [2], "the only one to relieve"
    fleet.connect("fog-10", a_fingerprint(cpu=1500))
    fleet.connect("fog-11", a_fingerprint(cpu=1500))
    roll_on(fleet, deployment_id)
    assert revisions(fleet, deployment_id) == [2, 2, 2]


def test_what_ran_on_a_node_that_was_removed_serves_nobody() -> None:
    fleet = a_fleet(3, cpu=1000)
    web = running(fleet, a_spec(replicas=3, cpu=1000, rollout=RolloutSpec(0, 1)))
    state = fleet.planner.fleet
    gone = state.decisions.placements[state.decisions.of(web).slots[2]]
    fleet.fact(ev.NodeRemoved(gone.node_id))
    fleet.settle()
    update(fleet, web, container_image="nginx:1.25")
    assert view(fleet, web).available == 2
    fleet.settle()
    slots = state.decisions.of(web).slots
    assert {0, 1} <= set(slots), "let go although fewer ran than may be missing"
    no_rule_broken(fleet)
