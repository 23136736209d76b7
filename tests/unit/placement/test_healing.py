"""What runs of a deployment never shrinks because not all that it lacks has room at once."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.policy import Policy
from fogbank.domain.states import ReplicaState
from fogbank.domain.tenancy import Quota
from tests.support import limited_fleet
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id
from tests.support.laws import broken_laws

HOUR_MS = 3_600_000
SOON_MS = 31_000


def a_fleet(nodes: int) -> LittleFleet:
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def running(fleet: LittleFleet, deployment_id: str) -> int:
    present = fleet.planner.fleet.present(deployment_id)
    return sum(fleet.planner.fleet.replica_state(one) is ReplicaState.RUNNING for one in present)


def breaks(fleet: LittleFleet, deployment_id: str, *slots: int) -> None:
    """Let the replicas of slots fail for good."""
    state = fleet.planner.fleet
    for slot in slots:
        placed = state.decisions.placements[state.decisions.of(deployment_id).slots[slot]]
        seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True)
        fleet.fold(fleet.log.report(placed.node_id, seen))


def later(fleet: LittleFleet, milliseconds: int) -> list[ev.Outcome]:
    """Let time pass, and decide what the scheduler would notice by itself."""
    fleet.log.pass_ms(milliseconds)
    outcomes: list[ev.Outcome] = []
    while fleet.planner.has_work(fleet.log.now_us) and (more := fleet.decide()):
        outcomes += more
    fleet.obey()
    return outcomes


def test_a_deployment_scaled_beyond_the_fleet_still_heals() -> None:
    fleet = a_fleet(3)
    web = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(web, 5))
    fleet.settle()
    assert running(fleet, web) == 3
    for slot in (0, 1):
        breaks(fleet, web, slot)
        fleet.settle()
        later(fleet, SOON_MS)
        assert running(fleet, web) == 3
        fleet.log.pass_ms(HOUR_MS)


def test_what_was_added_is_still_placed_together_or_not_at_all() -> None:
    fleet = a_fleet(3)
    web = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(web, 5))
    fleet.settle()
    breaks(fleet, web, 0)
    fleet.settle()
    later(fleet, SOON_MS)
    assert running(fleet, web) == 2, "there is room for one of the three that were added"
    fleet.connect("fog-3")
    fleet.connect("fog-4")
    fleet.settle()
    fleet.obey()
    assert running(fleet, web) == 5


def test_of_two_that_were_lost_one_takes_the_only_spare_node() -> None:
    fleet = a_fleet(3)
    web = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.NodeRemoved(fleet.planner.fleet.facts.nodes[an_id("fog-0")].id))
    fleet.fact(ev.NodeRemoved(fleet.planner.fleet.facts.nodes[an_id("fog-1")].id))
    fleet.connect("spare")
    fleet.settle()
    fleet.obey()
    assert running(fleet, web) == 2
    reason = fleet.planner.fleet.decisions.of(web).reason
    assert reason == "Insufficient nodes: need 1, found 0 with capacity"
    fleet.connect("another")
    fleet.settle()
    fleet.obey()
    assert running(fleet, web) == 3


def test_replicas_that_share_nodes_heal_as_far_as_there_is_room() -> None:
    fleet = a_fleet(1)
    web = fleet.deploy(a_spec(replicas=4, cpu=1000, allow_colocation=True))
    fleet.settle()
    fleet.obey()
    breaks(fleet, web, 0, 1, 2)
    fleet.deploy(a_spec("other", cpu=2000))
    fleet.settle()
    later(fleet, SOON_MS)
    assert running(fleet, web) == 2


def test_a_lowered_quota_leaves_what_fits_it_to_heal() -> None:
    fleet = limited_fleet.a_fleet(Quota(replicas=4))
    web = fleet.deploy(limited_fleet.ask(4))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.ClusterQuotaSet(limited_fleet.LIMITED, Quota(replicas=3)))
    breaks(fleet, web, 0, 1)
    fleet.settle()
    later(fleet, SOON_MS)
    assert running(fleet, web) == 3


def test_a_parked_slot_comes_in_by_time_alone_and_then_nothing_spins() -> None:
    fleet = a_fleet(2)
    web = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(web, 4))
    fleet.settle()
    breaks(fleet, web, 0)
    fleet.settle()
    look_us = fleet.planner.next_look_us()
    assert look_us is not None
    assert look_us == fleet.log.now_us + Policy().reschedule_delay_ms * 1_000
    blocker = fleet.deploy(a_spec("blocker", cpu=4000))
    fleet.settle()
    assert fleet.nodes_of(blocker)
    assert later(fleet, SOON_MS) == []
    assert not fleet.planner.has_work(fleet.log.now_us), "looked at once, in vain"
    next_us = fleet.planner.next_look_us()
    assert next_us is None or next_us > fleet.log.now_us


def test_who_moves_in_the_round_in_which_room_appears_is_looked_at_in_the_next() -> None:
    """A round that only moves a replica says nothing of what else its deployment waits for."""
    fleet = a_fleet(3)
    web = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.NodeRemoved(an_id("fog-2")))
    fleet.settle()
    fleet.fact(ev.NodeDraining(an_id("fog-0")))
    fleet.connect("fog-3")
    fleet.connect("fog-4")
    (moved,) = fleet.decide()
    assert isinstance(moved, ev.DeploymentPlaced)
    assert moved.placements[0].replaces
    assert fleet.planner.has_work(fleet.log.now_us)
    fleet.settle()
    fleet.obey()
    fleet.settle()
    assert sorted(fleet.nodes_of(web)) == ["fog-1", "fog-3", "fog-4"]


def lost_two_of_three(high: int) -> tuple[LittleFleet, str, str]:
    """Return a fleet with one node, which a low one fills, for two replicas of an important one."""
    fleet = a_fleet(3)
    web = fleet.deploy(a_spec("high", 3, cpu=4000, priority=high))
    fleet.settle()
    fleet.obey()
    low = fleet.deploy(a_spec("low", cpu=4000, priority=0, wait_for_capacity=True))
    fleet.settle()
    fleet.connect("fog-3")
    fleet.settle()
    fleet.obey()
    assert fleet.nodes_of(low) == ["fog-3"]
    for name in ("fog-0", "fog-1"):
        fleet.fact(ev.NodeRemoved(an_id(name)))
    return fleet, web, low


def test_an_important_deployment_that_lost_several_takes_the_room_there_is_for_one() -> None:
    fleet, web, low = lost_two_of_three(80)
    outcomes = fleet.settle()
    placed = [one for one in outcomes if isinstance(one, ev.DeploymentPlaced) and one.evictions]
    assert [(one.deployment_id, len(one.placements)) for one in placed] == [(web, 1)]
    fleet.obey()
    assert running(fleet, web) == 2
    assert running(fleet, low) == 0
    assert fleet.settle() == []
    assert not broken_laws(fleet.log)


def test_one_that_is_not_so_important_evicts_nobody_for_one() -> None:
    fleet, web, low = lost_two_of_three(50)
    assert not any(isinstance(one, ev.DeploymentPlaced) for one in fleet.settle())
    assert (running(fleet, web), running(fleet, low)) == (1, 1)


def test_an_important_deployment_takes_of_a_full_quota_what_there_is_for_one() -> None:
    fleet = limited_fleet.a_fleet(Quota(replicas=3))
    web = limited_fleet.run(fleet, limited_fleet.ask(2, priority=80))
    low = limited_fleet.run(fleet, limited_fleet.ask(priority=0, wait_for_capacity=True))
    breaks(fleet, web, 0, 1)
    limited_fleet.run(fleet, limited_fleet.ask(2, priority=75))
    later(fleet, SOON_MS)
    assert running(fleet, web) == 1
    assert running(fleet, low) == 0
