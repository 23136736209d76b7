"""Who waits is whoever lacks a replica, for whatever reason, from when the first was lacking."""

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.states import ReplicaState
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from fogbank.placement import Planner
from services.gateway.app.fold import FleetFold
from services.gateway.app.waiting_deployments import WaitingDeployments
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import LittleLog, a_spec, an_id
from tests.support.ledger import StoredLog
from tests.support.mixed_story import tell
from tests.support.schedulers import run_loops
from tests.support.statuses import LogStatuses

SECOND_US = 1_000_000
HOUR_MS = 3_600_000


async def waiting_after(story: LittleLog) -> WaitingDeployments:
    """Return what a gateway knows that has folded a log."""
    stored = StoredLog()
    stored.publish(story)
    log = MemoryLog(stored.store, Writer("gateway", "late"))
    fold = FleetFold(log, LogStatuses(log))
    async with run_loops(fold.run):
        await fold.caught_up.wait()
        return fold.waiting


def a_full_fleet(nodes: int = 2, priority: int = 50) -> tuple[LittleFleet, str]:
    """Return a fleet with a deployment that runs on all of its nodes, since an hour."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    web = fleet.deploy(a_spec(replicas=nodes, priority=priority))
    fleet.settle()
    fleet.obey()
    fleet.log.pass_ms(HOUR_MS)
    return fleet, web


async def test_nobody_waits_where_all_replicas_have_a_place() -> None:
    fleet, _ = a_full_fleet()
    waiting = await waiting_after(fleet.log)
    assert waiting.depth == {"low": 0, "medium": 0, "high": 0}
    assert waiting.oldest_us is None


async def test_one_that_was_scaled_beyond_the_fleet_waits_since_then() -> None:
    fleet, web = a_full_fleet()
    since_us = fleet.log.now_us
    fleet.fact(ev.DeploymentScaled(web, 3))
    fleet.settle()
    fleet.log.pass_ms(HOUR_MS)
    fleet.deploy(a_spec("other", priority=10))
    waiting = await waiting_after(fleet.log)
    assert waiting.depth == {"low": 1, "medium": 1, "high": 0}
    assert waiting.oldest_us == since_us


async def test_one_that_lost_a_node_waits_since_then() -> None:
    fleet, _ = a_full_fleet()
    since_us = fleet.log.now_us
    fleet.fact(ev.NodeRemoved(an_id("fog-1")))
    fleet.settle()
    waiting = await waiting_after(fleet.log)
    assert (waiting.depth["medium"], waiting.oldest_us) == (1, since_us)


async def test_one_whose_replica_failed_waits_until_it_may_be_placed_again() -> None:
    fleet, web = a_full_fleet()
    since_us = fleet.log.now_us
    state = fleet.planner.fleet
    placed = state.decisions.placements[state.decisions.of(web).slots[0]]
    failed = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True)
    fleet.fold(fleet.log.report(placed.node_id, failed))
    waiting = await waiting_after(fleet.log)
    assert (waiting.depth["medium"], waiting.oldest_us) == (1, since_us)
    fleet.log.pass_ms(HOUR_MS)
    fleet.settle()
    assert (await waiting_after(fleet.log)).oldest_us is None


async def test_one_that_gave_way_waits_since_then() -> None:
    fleet, _ = a_full_fleet(priority=10)
    since_us = fleet.log.now_us
    fleet.deploy(a_spec("urgent", cpu=4000, priority=90))
    fleet.settle()
    waiting = await waiting_after(fleet.log)
    assert waiting.depth == {"low": 1, "medium": 0, "high": 0}
    assert waiting.oldest_us == since_us


async def test_deleted_or_failed_ones_wait_no_more() -> None:
    fleet, web = a_full_fleet()
    fleet.fact(ev.DeploymentScaled(web, 3))
    failed = fleet.deploy(a_spec("impossible", 3))
    for _ in range(5):
        fleet.settle()
        fleet.log.pass_ms(HOUR_MS)
    assert fleet.planner.fleet.decisions.of(failed).failed_version
    assert (await waiting_after(fleet.log)).depth["medium"] == 1
    fleet.fact(ev.DeploymentDeleted(web))
    assert (await waiting_after(fleet.log)).depth["medium"] == 0


@pytest.mark.parametrize("seed", range(2))
async def test_a_gateway_counts_those_that_a_scheduler_looks_for_room_for(seed: int) -> None:
    story, planner, since_us = tell(seed, events=150).log, Planner(), dict[str, int]()
    for commit in story.commits:
        folded = planner.fold(commit)
        agenda = planner.agenda
        waits = {*agenda.active, *agenda.timed, *agenda.parked}
        since_us = {each: since_us.get(each, folded.log_time_us) for each in waits}
    assert since_us
    waiting = await waiting_after(story)
    assert sum(waiting.depth.values()) == len(since_us)
    assert waiting.oldest_us == min(since_us.values())


def a_deployment(spec: DeploymentSpec) -> DeploymentFact:
    return DeploymentFact("d", spec, "ann", "", version=1, created_at_us=1, created_position=1)


def test_one_that_becomes_more_important_waits_on_in_its_new_class() -> None:
    waiting, spec = WaitingDeployments(), a_spec(priority=10)
    waiting.note(a_deployment(spec), SECOND_US, waits=True)
    waiting.note(a_deployment(replace(spec, priority=90)), 2 * SECOND_US, waits=True)
    assert waiting.depth == {"low": 0, "medium": 0, "high": 1}
    assert waiting.oldest_us == SECOND_US
    waiting.note(a_deployment(spec), 3 * SECOND_US, waits=False)
    assert waiting.depth == {"low": 0, "medium": 0, "high": 0}
    assert not waiting.oldest_us
