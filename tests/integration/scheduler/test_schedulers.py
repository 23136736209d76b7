"""Schedulers at work on a real broker, and on a log that fails them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain import fleet as fleet_module
from fogbank.domain.decisions import Desired
from fogbank.domain.envelope import GATEWAY, SCHEDULER, Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.log.follower import read_commits
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.nats_connection import connect
from fogbank.log.port import EventLog, Writer
from fogbank.log.stream import StreamName, ensure_stream
from fogbank.placement import Planner
from fogbank.runtime.clock import SystemClock
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec
from tests.support.nats import NatsServer, nats_server
from tests.support.schedulers import running_scheduler
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


class Town:
    """A fleet whose facts are appended to a log that schedulers follow."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.made = LittleLog()

    async def write(self, commit: Commit) -> int:
        """Append a commit that was made for a little log to the real one, as of now."""
        now_us = SystemClock().now_us()
        envelopes = [encode_envelope(envelope) for envelope in commit.envelopes]
        return await self.log.append(encode_commit(now_us, envelopes))

    async def connect(self, name: str, *, cpu: int = 4000) -> None:
        """Let a node shake hands."""
        _, commit = self.made.connect(name, a_fingerprint(cpu=cpu))
        await self.write(commit)

    async def deploy(self, *, cpu: int = 1000, replicas: int = 1) -> str:
        """Accept a deployment."""
        deployment_id, commit = self.made.deploy(a_spec(cpu=cpu, replicas=replicas))
        await self.write(commit)
        return deployment_id

    async def policy(self, **changes: object) -> None:
        """Activate a policy."""
        policy = replace(Policy(), **changes)  # type: ignore[arg-type]
        await self.write(self.made.fact(ev.PolicyActivated(policy)))


async def replay(log: EventLog) -> tuple[FleetState, int, int]:
    """Fold a whole log anew; return the state and how many rounds counted and were void."""
    fleet, accepted, void = FleetState(), 0, 0
    async for commits in read_commits(log, 1, await log.last_sequence()):
        for commit in commits:
            folded = fleet.fold(commit)
            if commit.service == SCHEDULER:
                accepted += folded.verdicts[0].accepted
                void += not folded.verdicts[0].accepted
            for node in fleet.facts.nodes.values():
                assert fleet.booked(node.id).fits_in(node.fingerprint.allocatable)
    return fleet, accepted, void


@asynccontextmanager
async def handles(
    broker: NatsServer, fleet: str, *writers: Writer
) -> AsyncIterator[list[EventLog]]:
    """Open handles on a fleet's log."""
    async with connect(broker.url, "test") as connection:
        name = StreamName(fleet)
        await ensure_stream(connection, name)
        yield [JetStreamLog(connection, name, writer) for writer in writers]


async def test_two_schedulers_side_by_side_never_book_anything_twice(broker: NatsServer) -> None:
    """With no takeover time both decide everything at once: the fold must choose."""
    writers = [Writer(GATEWAY, "g"), Writer(SCHEDULER, "one"), Writer(SCHEDULER, "two")]
    async with handles(broker, "rivals", *writers) as (facts, one, two):
        town = Town(facts)
        for number in range(10):
            await town.connect(f"fog-{number}")
        async with (
            running_scheduler(one, takeover_us=0) as first,
            running_scheduler(two, takeover_us=0) as second,
        ):
            wanted = [await town.deploy(cpu=1000, replicas=2) for _ in range(20)]

            def all_placed() -> bool:
                decisions = first.planner.fleet.decisions.deployments
                return all(
                    len(decisions[known].slots) == 2 for known in wanted if known in decisions
                ) and len(decisions) == len(wanted)

            await eventually(all_placed, what="all deployments placed")
            await eventually(
                lambda: first.planner.fleet.position == second.planner.fleet.position,
                what="both at the same commit",
            )
        fleet, accepted, void = await replay(facts)
        assert accepted >= 1
        assert accepted + void == fleet.position - 30
        live = [
            placed
            for placed in fleet.decisions.placements.values()
            if placed.desired is Desired.LIVE
        ]
        assert len(live) == 40
        assert len({(placed.deployment_id, placed.slot) for placed in live}) == 40
        assert first.planner.fleet.decisions == second.planner.fleet.decisions


async def test_a_scheduler_that_stands_by_takes_over_when_the_leader_is_gone(
    broker: NatsServer,
) -> None:
    writers = [Writer(GATEWAY, "g"), Writer(SCHEDULER, "one"), Writer(SCHEDULER, "two")]
    async with handles(broker, "standby", *writers) as (facts, one, two):
        town = Town(facts)
        await town.connect("fog-0")
        async with running_scheduler(two, takeover_us=200_000) as standby:
            async with running_scheduler(one) as leader:
                first = await town.deploy()
                await eventually(
                    lambda: first in standby.planner.fleet.decisions.deployments,
                    what="the first deployment placed",
                )
                assert {leader.leadership.leader} <= {"one", "two"}
            second = await town.deploy()
            await eventually(
                lambda: second in standby.planner.fleet.decisions.deployments,
                what="the second deployment placed by whoever is left",
            )
            assert standby.leadership.leading
            assert standby.status().leader == "two"


async def test_a_silent_node_goes_offline_and_its_replicas_move(broker: NatsServer) -> None:
    writers = [Writer(GATEWAY, "g"), Writer(SCHEDULER, "one")]
    async with handles(broker, "silence", *writers) as (facts, one):
        town = Town(facts)
        await town.policy(heartbeat_period_ms=200, lost_after_ms=700)
        await town.connect("fog-0")
        async with running_scheduler(one) as scheduler:
            fleet = scheduler.planner.fleet
            deployment_id = await town.deploy()
            await eventually(lambda: deployment_id in fleet.decisions.deployments, what="placed")
            doomed = next(iter(fleet.facts.nodes))
            await town.connect("fog-1")
            await eventually(lambda: len(fleet.facts.nodes) == 2, what="the second node seen")
            alive = next(known for known in fleet.facts.nodes if known != doomed)

            def beat_and_look() -> bool:
                scheduler.heard(alive, fleet.facts.nodes[alive].epoch)
                slots = fleet.decisions.of(deployment_id).slots
                return bool(slots) and fleet.decisions.placements[slots[0]].node_id == alive

            await eventually(beat_and_look, what="the replica on the living node")
            placed = fleet.decisions.placements[fleet.decisions.of(deployment_id).slots[0]]
            assert placed.generation == 2


@pytest.mark.parametrize("fault", ["lose_acks", "lose_appends"])
async def test_a_round_that_was_not_confirmed_neither_books_twice_nor_gets_lost(
    fault: str,
) -> None:
    store = MemoryStore()
    town = Town(MemoryLog(store, Writer(GATEWAY, "g")))
    await town.connect("fog-0", cpu=1000)
    deployment_id = await town.deploy()
    setattr(store, fault, 2)
    async with running_scheduler(MemoryLog(store, Writer(SCHEDULER, "one"))) as scheduler:
        await eventually(
            lambda: scheduler.planner.fleet.decisions.deployments.get(deployment_id),
            what="the deployment placed",
        )
    fleet, accepted, _ = await replay(town.log)
    assert accepted == 1
    assert len(fleet.decisions.placements) == 1


async def test_a_scheduler_whose_rounds_cannot_count_does_not_flood_the_log() -> None:
    """Under another service's name every round is void: it must pause, not spin."""
    store = MemoryStore()
    town = Town(MemoryLog(store, Writer(GATEWAY, "g")))
    await town.connect("fog-0")
    await town.deploy()
    async with running_scheduler(MemoryLog(store, Writer(GATEWAY, "impostor"))) as scheduler:
        await eventually(lambda: scheduler.status().rounds_void >= 2, what="two void rounds")
        written = scheduler.status().rounds_void
    assert written <= 3


async def test_a_scheduler_stands_still_at_a_round_decided_on_another_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 2)
    store = MemoryStore()
    town, rival = Town(MemoryLog(store, Writer(GATEWAY, "g"))), Planner()
    await town.connect("fog-0")
    await town.deploy()
    await town.deploy()
    scheduler_log = MemoryLog(store, Writer(SCHEDULER, "two"))
    for digest in (b"", bytes(32)):
        async for commits in read_commits(town.log, rival.fleet.position + 1, 1_000):
            for commit in commits:
                rival.fold(commit)
        decided = rival.decide(SystemClock().now_us(), limit=1)
        assert decided is not None
        assert bool(decided.event.state_digest) is bool(digest)
        event = replace(decided.event, state_digest=digest)
        envelope = encode_envelope(town.made.envelope(event))
        await scheduler_log.append(encode_commit(SystemClock().now_us(), [envelope]))
    last = await town.deploy()
    async with running_scheduler(MemoryLog(store, Writer(SCHEDULER, "one"))) as scheduler:
        await eventually(scheduler.differs.is_set, what="the difference noticed")
        assert scheduler.planner.fleet.decisions.prev_sequence == 5
        assert last not in scheduler.planner.fleet.decisions.deployments
    assert await town.log.last_sequence() == 6
