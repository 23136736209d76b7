"""A scheduler never spins: work is announced only where a round follows, and none is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.domain.states import ConstraintOperator, ReplicaState
from fogbank.placement import Planner
from fogbank.placement.agenda import Agenda, Look
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

LARGEST_COMMIT = 512 * 1024


def a_fleet(nodes: int) -> LittleFleet:
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def is_quiet(fleet: LittleFleet) -> bool:
    """Tell whether nothing is due: the scheduler may sleep until something changes."""
    look_us = fleet.planner.next_look_us()
    has_work = fleet.planner.has_work(fleet.log.now_us)
    return not has_work and (look_us is None or look_us > fleet.log.now_us)


def test_while_every_node_is_silent_nothing_is_due() -> None:
    fleet = a_fleet(2)
    fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    silences = [fleet.silence(node_id) for node_id in list(fleet.planner.fleet.facts.nodes)]
    fleet.log.pass_ms(3_600_000)
    fleet.decide(*silences)
    assert is_quiet(fleet)


def test_room_that_appears_between_a_look_in_vain_and_its_round_is_seen() -> None:
    fleet = a_fleet(1)
    parked = fleet.deploy(a_spec(replicas=3, wait_for_capacity=True))
    fleet.settle()
    fleet.connect("fog-1")
    fleet.deploy(a_spec(cpu=100))  # gives the round an outcome; the parked one is looked at in vain
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    assert [type(outcome) for outcome in decided.event.outcomes] == [ev.DeploymentPlaced]
    fleet.connect("fog-2")
    fleet.fold(fleet.log.round(decided.event))
    fleet.settle()
    assert len(fleet.nodes_of(parked)) == 3


def test_room_released_by_the_round_of_a_look_in_vain_is_seen() -> None:
    fleet = a_fleet(1)
    taken = fleet.deploy(a_spec(cpu=4000))
    fleet.settle()
    waiting = fleet.deploy(a_spec(cpu=4000, wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.PolicyActivated(Policy()))  # worth a look, together with the release
    fleet.fact(ev.DeploymentDeleted(taken))
    fleet.settle()
    assert fleet.nodes_of(waiting) == ["fog-0"]


def test_what_waits_for_a_broken_replica_sleeps_until_it_may_be_replaced() -> None:
    """Parked for two slots, one comes back, the other breaks anew: it must not spin till then."""
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    node_id = fleet.planner.fleet.decisions.placements[
        fleet.planner.fleet.decisions.of(deployment_id).slots[0]
    ].node_id
    silence = fleet.silence(node_id)
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    fleet.settle()
    assert fleet.planner.agenda.parked
    fleet.connect(fleet.planner.fleet.facts.nodes[node_id].name)
    fleet.settle()
    decision = fleet.planner.fleet.decisions.of(deployment_id)
    assert not decision.deferred
    broken = decision.slots[1]
    other = fleet.planner.fleet.decisions.placements[broken].node_id
    fleet.fold(fleet.log.report(other, fleet.log.seen(broken, ReplicaState.FAILED, final=True)))
    assert fleet.settle() == []
    assert is_quiet(fleet)
    fleet.log.now_us = fleet.planner.next_look_us() or 0
    assert fleet.settle()
    assert len(fleet.nodes_of(deployment_id)) == 2


def test_a_look_in_vain_is_made_once() -> None:
    fleet = a_fleet(1)
    fleet.deploy(a_spec(replicas=2, wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.PolicyActivated(Policy()))
    assert fleet.planner.has_work(fleet.log.now_us)
    assert fleet.settle() == []
    assert is_quiet(fleet)


def test_a_movers_look_in_vain_is_forgotten_with_what_it_was_for() -> None:
    agenda, one, two = Agenda(), Look("rollout", "one"), Look("rollout", "two")
    first, second = Look("rebalance", number=1), Look("rebalance", number=2)
    agenda.looked_in_vain([one, two, first, "something else"], 5, 7)
    assert [agenda.in_vain_us(look, 5) for look in (one, two, first, second)] == [7, 7, 7, None]
    assert not agenda.in_vain(one, 6), "room has appeared"
    agenda.refresh(FleetState(), ["one"])
    agenda.looked_in_vain([second], 5, 8)
    assert [agenda.in_vain_us(look, 5) for look in (one, two, first, second)] == [None, 7, None, 8]


def test_an_error_in_vain_does_not_show_in_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = a_fleet(1)
    fleet.deploy(a_spec(strategy="no-such-thing", wait_for_capacity=True))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    assert len(decided.event.raised) == len(decided.errors) == 1
    fleet.fold(fleet.log.round(decided.event))
    fleet.fact(ev.PolicyActivated(Policy()))
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    assert decided.event.raised == ()
    assert len(decided.errors) == 1


def test_an_unknown_strategy_fails_its_deployment_and_no_other() -> None:
    fleet = a_fleet(1)
    broken = fleet.deploy(a_spec(strategy="no-such-thing"))
    fine = fleet.deploy(a_spec())
    for _ in range(4):
        decided = fleet.planner.decide(fleet.log.now_us)
        assert decided is not None
        fleet.fold(fleet.log.round(decided.event))
        fleet.obey()
        fleet.log.now_us = fleet.planner.next_look_us() or fleet.log.now_us
    assert fleet.planner.fleet.decisions.of(broken).reason == "Scheduling failed: KeyError"
    assert fleet.planner.fleet.decisions.of(broken).failed_version
    assert fleet.nodes_of(fine) == ["fog-0"]
    assert is_quiet(fleet)


def test_an_unknown_strategy_does_not_stop_what_comes_back() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    original = fleet.planner.fleet.decisions.of(deployment_id).slots[0]
    node_id = fleet.planner.fleet.decisions.placements[original].node_id
    silence = fleet.silence(node_id)
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    fleet.settle()
    # No policy that counts names such a strategy; a log from elsewhere may have a spec that does.
    fact = fleet.planner.fleet.facts.deployments[deployment_id]
    fact.spec = replace(fact.spec, strategy="no-such-thing")
    fleet.connect(fleet.planner.fleet.facts.nodes[node_id].name)
    fleet.settle()
    assert fleet.planner.fleet.decisions.of(deployment_id).slots[0] == original


def test_a_policy_changes_at_once_which_nodes_are_busy() -> None:
    fleet = a_fleet(1)
    (node_id,) = fleet.planner.fleet.facts.nodes
    fleet.fact(ev.NodeLoadChanged(node_id, fleet.log.epochs[node_id], 60, 10, 0))
    fleet.fact(ev.PolicyActivated(Policy(busy_load_percent=50)))
    assert not fleet.planner.arrays.open[0]
    fleet.fact(ev.PolicyActivated(Policy(busy_load_percent=70)))
    assert fleet.planner.arrays.open[0]


def round_sizes(fleet: LittleFleet, *observations: ev.NodeSilence) -> list[int]:
    """Decide until there is nothing left; return how large the rounds' commits were."""
    sizes = []
    seen: tuple[ev.NodeSilence, ...] = observations
    while (decided := fleet.planner.decide(fleet.log.now_us, seen)) is not None:
        envelope = encode_envelope(fleet.log.envelope(decided.event))
        sizes.append(len(encode_commit(fleet.log.now_us, [envelope])))
        fleet.fold(fleet.log.round(decided.event))
        state = fleet.planner.fleet
        seen = tuple(
            silence
            for silence in observations
            if state.offline_since_us(state.facts.nodes[silence.node_id]) is None
        )
    return sizes


def test_rounds_stay_small_enough_for_a_commit_however_much_there_is_to_do() -> None:
    fleet = LittleFleet()
    for number in range(10):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=200_000, memory=400_000, storage=9_000))
    ids = [fleet.deploy(a_spec(f"d{number}", cpu=100, storage=1)) for number in range(1500)]
    assert max(round_sizes(fleet)) < LARGEST_COMMIT
    for deployment_id in ids:
        fleet.fact(ev.DeploymentDeleted(deployment_id))
    released = round_sizes(fleet)
    assert len(released) >= 3
    assert max(released) < LARGEST_COMMIT / 2
    assert is_quiet(fleet)


def test_a_thousand_silent_nodes_take_more_than_one_round() -> None:
    fleet = a_fleet(1000)
    silences = [fleet.silence(node_id) for node_id in list(fleet.planner.fleet.facts.nodes)]
    sizes = round_sizes(fleet, *silences)
    assert len(sizes) == 2
    assert max(sizes) < LARGEST_COMMIT


def test_a_planner_built_from_a_state_agrees_with_one_that_followed_the_log() -> None:
    fleet = a_fleet(2)
    for number in range(5):
        fleet.deploy(a_spec(f"d{number}", cpu=1500))
    fleet.decide()
    state = FleetState()
    for commit in fleet.log.commits:
        state.fold(commit)
    fresh = Planner(state)
    assert fresh.agenda.to_settle() == fleet.planner.agenda.to_settle()
    assert fresh.next_look_us() == fleet.planner.next_look_us()
    assert fresh.decide(fleet.log.now_us + 10**6) == fleet.planner.decide(fleet.log.now_us + 10**6)


def test_among_equal_asks_that_wait_the_smaller_one_is_still_looked_at() -> None:
    fleet = a_fleet(1)
    waiting = {
        replicas: fleet.deploy(a_spec(f"d{replicas}", replicas, wait_for_capacity=True))
        for replicas in (4, 2, 3)
    }
    fleet.settle()
    fleet.connect("fog-1")
    fleet.settle()
    assert len(fleet.nodes_of(waiting[2])) == 2
    assert fleet.nodes_of(waiting[3]) == fleet.nodes_of(waiting[4]) == []
    assert is_quiet(fleet)


def test_an_ask_that_raises_says_nothing_about_equal_ones() -> None:
    fleet = a_fleet(0)
    fleet.deploy(a_spec("broken", strategy="no-such-thing", priority=90, wait_for_capacity=True))
    fine = fleet.deploy(a_spec("fine", wait_for_capacity=True))
    fleet.settle()
    fleet.connect("fog-0")
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.fold(fleet.log.round(decided.event))
    assert fleet.nodes_of(fine) == ["fog-0"]


def test_a_node_that_changes_its_labels_is_looked_at_anew() -> None:
    fleet = a_fleet(1)
    zone = Constraint("label.zone", ConstraintOperator.EQUAL, ("a",))
    waiting = fleet.deploy(a_spec(constraints=(zone,), wait_for_capacity=True))
    fleet.settle()
    assert fleet.nodes_of(waiting) == []
    fleet.connect("fog-0", a_fingerprint(labels={"zone": "a"}))
    fleet.settle()
    assert fleet.nodes_of(waiting) == ["fog-0"]
