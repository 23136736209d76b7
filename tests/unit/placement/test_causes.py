"""What each outcome of a round names as its cause."""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.position import index_of, sequence_of
from fogbank.domain.states import ReplicaState
from fogbank.placement.rederive import Rederiver
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.unit.placement.test_rollouts import a_fleet, fail, running, update


def decided(
    fleet: LittleFleet, *silent: ev.NodeSilence
) -> list[tuple[ev.Outcome, ev.Event | None]]:
    """Decide a round; return its outcomes, each with the event that it names."""
    outcomes = fleet.decide(*silent)
    causes = fleet.log.commits[-1].envelopes[0].causes
    return list(zip(outcomes, [named(fleet, cause) for cause in causes], strict=True))


def named(fleet: LittleFleet, position: int) -> ev.Event | None:
    commit = fleet.log.commits[sequence_of(position) - 1]
    return commit.envelopes[index_of(position)].event


def event_of(commit: Commit) -> ev.Event | None:
    return commit.envelopes[0].event


def test_a_placement_names_the_command_that_asked() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    web = fleet.deploy(a_spec("web"))
    fleet.deploy(a_spec("other"))
    placements = decided(fleet)
    assert [event.spec.name for _, event in placements if isinstance(event, ev.DeploymentCreated)]
    assert [event_of(fleet.log.commits[1]), event_of(fleet.log.commits[2])] == [
        event for _, event in placements
    ]
    scaled = fleet.fact(ev.DeploymentScaled(web, 2))
    assert [event for _, event in decided(fleet)] == [event_of(scaled)]
    deleted = fleet.fact(ev.DeploymentDeleted(web))
    assert {id(event) for _, event in decided(fleet)} == {id(event_of(deleted))}


def test_who_was_preempted_is_led_to_the_command_that_did_it() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(cpu=2000))
    fleet.deploy(a_spec("small", cpu=2000, priority=10, wait_for_capacity=True))
    fleet.settle()
    fleet.obey()
    fleet.deploy(a_spec("large", cpu=2000, priority=100))
    ((preempted, asked),) = decided(fleet)
    assert isinstance(preempted, ev.DeploymentPlaced)
    assert preempted.evictions
    assert isinstance(asked, ev.DeploymentCreated)
    assert asked.spec.name == "large"
    evicting = event_of(fleet.log.commits[-1])
    ((waits, emptied),) = decided(fleet)
    assert isinstance(waits, ev.DeploymentDeferred)
    assert emptied == evicting


def test_what_ended_is_replaced_because_of_the_report() -> None:
    fleet = LittleFleet()
    node = fleet.connect("fog-0")
    web = fleet.deploy(a_spec("web"))
    fleet.settle()
    replica = fleet.planner.fleet.decisions.of(web).slots[0]
    seen = fleet.log.seen(replica, ReplicaState.FAILED, final=True, exit_code=1)
    report = fleet.fold(fleet.log.report(node, seen))
    fleet.log.pass_ms(600_000)
    found = [event for outcome, event in decided(fleet) if isinstance(outcome, ev.DeploymentPlaced)]
    assert found == [event_of(report)]


def test_a_lost_node_leads_from_its_silence_to_the_replacement_and_back() -> None:
    fleet = LittleFleet()
    nodes = [fleet.connect(name) for name in ("fog-0", "fog-1")]
    web = fleet.deploy(a_spec("web"))
    fleet.settle()
    fleet.obey()
    placed = fleet.planner.fleet.decisions.placements
    lost = next(iter(placed.values())).node_id
    ((offline, connection),) = decided(fleet, fleet.silence(lost))
    assert isinstance(offline, ev.NodeOffline)
    assert isinstance(connection, ev.NodeConnected)
    assert connection.node_id == lost
    silent = event_of(fleet.log.commits[-1])
    fleet.log.pass_ms(600_000)
    found = decided(fleet)
    suspending = event_of(fleet.log.commits[-1])
    assert [(type(outcome), event) for outcome, event in found] == [(ev.ReplicasSuspended, silent)]
    found = decided(fleet)
    assert [(type(outcome), event) for outcome, event in found] == [
        (ev.DeploymentPlaced, suspending)
    ]
    back = fleet.fold(fleet.log.connect(f"fog-{nodes.index(lost)}")[1])
    returned = decided(fleet)
    assert returned
    assert {id(event) for _, event in returned} == {id(event_of(back))}
    assert web


def test_a_drain_is_what_moves_its_replicas() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    fleet.connect("fog-1")
    fleet.deploy(a_spec("web"))
    fleet.settle()
    fleet.obey()
    (placed,) = fleet.planner.fleet.decisions.placements.values()
    draining = fleet.fact(ev.NodeDraining(placed.node_id))
    ((moved, event),) = decided(fleet)
    assert isinstance(moved, ev.DeploymentPlaced)
    assert event == event_of(draining)
    fleet.obey()
    report = event_of(fleet.log.commits[-1])
    ((released, event),) = decided(fleet)
    assert isinstance(released, ev.ReplicasReleased)
    assert event == report


def test_what_is_wanted_again_names_what_was_said_of_its_successor() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="broken")
    for _ in range(2):
        fleet.log.pass_ms(150_000)
        fleet.settle()
        fail(fleet, deployment_id, 2)
    told = fleet.log.commits[-1]
    ((back, because),) = decided(fleet)
    assert isinstance(back, ev.DeploymentRolledBack)
    assert because == event_of(told)
    restored = [pair for pair in decided(fleet) if isinstance(pair[0], ev.ReplicasRestored)]
    assert [event for _, event in restored] == [event_of(told)]


def test_what_is_wanted_again_by_its_author_names_the_command() -> None:
    fleet = a_fleet(4)
    deployment_id = running(fleet, a_spec(replicas=3))
    update(fleet, deployment_id, container_image="nginx:2")
    fleet.settle()
    update(fleet, deployment_id, container_image="nginx:1.24")
    taken_back = event_of(fleet.log.commits[-1])
    restored = [pair for pair in decided(fleet) if isinstance(pair[0], ev.ReplicasRestored)]
    assert [event for _, event in restored] == [taken_back]


def test_forged_causes_are_found_by_deriving_again() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    fleet.deploy(a_spec("web"))
    round_ = fleet.planner.decide(fleet.log.now_us)
    assert round_ is not None
    for causes, found in (
        (round_.causes, []),
        ((), []),
        ((1 << 16,), [("causes[0]", str(2 << 16), str(1 << 16))]),
    ):
        rederiver = Rederiver()
        for commit in fleet.log.commits:
            rederiver.take(commit)
        envelope = replace(fleet.log.envelope(round_.event), causes=causes)
        sequence = len(fleet.log.commits) + 1
        commit = Commit(sequence, "scheduler", "one", b"", fleet.log.now_us, (envelope,))
        derived = rederiver.take(commit)
        assert derived is not None
        assert [(term.path, term.derived, term.logged) for term in derived.terms] == found
