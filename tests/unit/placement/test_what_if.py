"""What another policy would have done with the same facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.long_log import long_log
from fogbank.domain import events as ev
from fogbank.domain.comparison import DIFFERENCES_NAMED, FIGURES, ComparedPart
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import Span
from fogbank.domain.states import ReplicaState
from fogbank.log.follower import decode
from fogbank.placement.what_if import Comparison
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

BINPACK = NAMED_POLICIES["binpack"]


@pytest.fixture(scope="module")
def busy() -> list[Commit]:
    """Return a log with lost nodes in it, of 20 nodes and 130 steps."""
    return [decode(stored) for stored in long_log(4_000, nodes=20, created=5, loads=10)]


def compared(
    commits: Sequence[Commit], policy: Policy, first: int = 1, last: int = 0
) -> ComparedPart:
    comparison = Comparison(Span(first, last or len(commits)), policy)
    middle = len(commits) // 2
    comparison.take(commits[:middle])
    return comparison.take(commits[middle : last or len(commits)])


def test_the_policy_in_force_would_have_done_the_same(busy: list[Commit]) -> None:
    found = compared(busy, Policy())
    assert found.deployments > 500
    assert found.differing == 0
    same = ("deployments_placed", "replicas_placed", "end_nodes_used", "mean_nodes_used")
    for name in (*same, "points_by_actual_policy", "points_by_alternative_policy"):
        assert found.actual[name] == found.alternative[name] > 0, name
    assert set(found.actual) <= set(FIGURES)


def test_another_one_packs_and_is_worth_more_by_its_own_rules(busy: list[Commit]) -> None:
    found = compared(busy, BINPACK)
    assert found.alternative["mean_nodes_used"] < found.actual["mean_nodes_used"]
    assert found.alternative["deployments_placed"] == found.actual["deployments_placed"]
    own = "points_by_alternative_policy"
    assert found.alternative[own] > found.actual[own]
    assert len({each.deployment_id for each in found.differences}) == DIFFERENCES_NAMED
    assert found.differing > DIFFERENCES_NAMED


def test_it_begins_with_what_stood_before_the_span(busy: list[Commit]) -> None:
    first = len(busy) * 2 // 3
    found = compared(busy, BINPACK, first)
    whole = compared(busy, BINPACK)
    assert 0 < found.actual["rounds"] < whole.actual["rounds"] / 2
    # Who stood before stays where it was.
    assert found.alternative["mean_nodes_used"] > whole.alternative["mean_nodes_used"]
    assert 0 < found.deployments < whole.deployments
    given = FleetState(), FleetState()
    for commit in busy[: first - 1]:
        for state in given:
            state.fold(commit)
    from_states = Comparison(Span(first, len(busy), first - 1), BINPACK, *given)
    assert replace(from_states.take(busy[first - 1 :]), span=found.span) == found


def test_who_would_have_been_spared_a_preemption() -> None:
    """Packed on one node, the small ones leave room for the large one; spread, one has to go."""
    fleet = LittleFleet()
    for name in ("fog-0", "fog-1"):
        fleet.connect(name, a_fingerprint(cpu=4000))
    small = [
        fleet.deploy(a_spec(f"small-{n}", cpu=1000, priority=10, wait_for_capacity=True))
        for n in range(2)
    ]
    fleet.settle()
    fleet.obey()
    fleet.deploy(a_spec("large", cpu=4000, priority=100))
    fleet.settle()
    fleet.obey()
    fleet.settle()
    found = compared(fleet.log.commits, BINPACK)
    assert (found.actual["preemptions"], found.alternative["preemptions"]) == (1, 0)
    evicted = [each for each in found.differences if each.actual.evicted]
    assert [(each.alternative.evicted, each.alternative.standing) for each in evicted] == [
        (0, "placed")
    ]
    assert evicted[0].deployment_id in small


def test_what_ended_by_itself_ends_there_too() -> None:
    fleet = LittleFleet()
    nodes = {fleet.connect(name): name for name in ("fog-0", "fog-1")}
    fleet.deploy(a_spec("filler"))
    fleet.settle()
    fleet.obey()
    job = fleet.deploy(a_spec("job"))
    fleet.settle()
    replica = fleet.planner.fleet.decisions.of(job).slots[0]
    placed = fleet.planner.fleet.decisions.placements[replica]
    assert nodes[placed.node_id]
    seen = fleet.log.seen(replica, ReplicaState.FAILED, final=True, exit_code=1)
    fleet.fold(fleet.log.report(placed.node_id, seen))
    fleet.log.pass_ms(600_000)
    fleet.settle()
    fleet.obey()
    comparison = compared(fleet.log.commits, BINPACK)
    assert comparison.actual["replicas_placed"] == 3
    assert comparison.alternative["replicas_placed"] == 3


def test_a_policy_activated_on_the_way_changes_nothing_there() -> None:
    fleet = LittleFleet()
    for name in ("fog-0", "fog-1"):
        fleet.connect(name)
    for number in range(2):
        fleet.deploy(a_spec(f"one-{number}"))
        fleet.settle()
        fleet.fact(ev.PolicyActivated(NAMED_POLICIES["spread"]))
        fleet.obey()
    found = compared(fleet.log.commits, BINPACK)
    assert (found.actual["end_nodes_used"], found.alternative["end_nodes_used"]) == (2, 1)
