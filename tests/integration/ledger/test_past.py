"""What the ledger says of past moments is what it said then."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import NoReturn

import grpc.aio
import pytest

from fogbank.domain import events as ev
from fogbank.domain.cluster_status import ClusterStatus, cluster_use
from fogbank.domain.errors import InvalidArgumentError, NotFoundError
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import DeploymentStatus, NodeStatus
from fogbank.domain.status import StatusTracker
from fogbank.domain.tenancy import Quota
from fogbank.domain.views import AsOf, DeploymentView, Moment, NodeView, Page
from fogbank.runtime.grpc_server import GrpcServer
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.app.ports import DeploymentQuery
from services.ledger.adapters.maintenance import rebuild
from services.ledger.adapters.past_views import shown_nodes, shown_replicas
from services.ledger.adapters.replay_process import ReplayProcess, replay_process
from services.ledger.app.own_past import HolderEndedError
from services.ledger.app.ports import CopyDamagedError, DeploymentFilter, DeploymentSort
from services.ledger.app.queries import LedgerQueries, Wait
from tests.support.commanded_story import CommandedStory
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import OWNER, START_US, a_spec, an_id
from tests.support.ledger import ReplayHere, StoredLog, a_running_ledger, replay_here, rows_of
from tests.support.limited_fleet import FREE, LIMITED, a_fleet, ask, run
from tests.support.mixed_story import tell

NOW = Wait()
FILTERS = (
    DeploymentFilter(limit=1_000, ascending=True),
    DeploymentFilter(limit=7, offset=3, sort_by=DeploymentSort.NAME),
    DeploymentFilter(limit=1_000, sort_by=DeploymentSort.STATUS),
    DeploymentFilter(limit=1_000, statuses=(DeploymentStatus.DELETED, DeploymentStatus.FAILED)),
    DeploymentFilter(limit=1_000, name_contains="nobody's"),
    DeploymentFilter(limit=1_000, owner_id=OWNER, name_contains="-1", cluster_id=1),
    DeploymentFilter(limit=3, offset=1, cluster_id=2, ascending=True),
    DeploymentFilter(
        limit=1_000,
        statuses=tuple(DeploymentStatus),
        created_after_us=START_US + 60_000_000,
        created_before_us=START_US + 600_000_000,
    ),
)

Told = tuple[
    list[AsOf[Page[DeploymentView]]],
    list[AsOf[DeploymentView]],
    AsOf[Page[NodeView]],
    list[AsOf[NodeView]],
]


async def told_by(queries: LedgerQueries, moment: Moment | None = None) -> Told:
    """Return everything that can be asked."""
    lists = [await queries.deployments(wanted, NOW, moment) for wanted in FILTERS]
    ids = [view.id for found in (lists[0], lists[3]) for view in found.value.items]
    whole = [await queries.deployment(id_, "", NOW, moment) for id_ in ids]
    nodes = await queries.nodes(1_000, 0, NOW, moment)
    named = [await queries.node(view.name, NOW, moment) for view in nodes.value.items]
    named += [await queries.node(view.id, NOW, moment) for view in nodes.value.items]
    return lists, whole, nodes, named


async def test_a_past_moment_is_told_as_it_was_told_then(url: str) -> None:
    story, chance = tell(31, events=140, nodes=6), Random(7)
    end = len(story.log.commits)
    moments = sorted({1, end, *chance.sample(range(2, end), 5)})
    log = StoredLog()
    log.publish(story.log, upto=1)
    then: dict[int, Told] = {}
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        for sequence in moments:
            log.publish(story.log, upto=sequence)
            await ledger.reaches(sequence)
            then[sequence] = await told_by(ledger.answers.queries)
        for sequence in moments:
            assert await told_by(ledger.answers.queries, Moment(sequence)) == then[sequence], (
                sequence
            )
        # A time is the last commit with no later log time.
        log_times = [commit.appended_at_us for commit in story.log.commits]
        for sequence in moments:
            at_us = max(log_times[:sequence])
            wanted = max(
                number + 1 for number in range(end) if max(log_times[: number + 1]) <= at_us
            )
            assert await ledger.past.sequence_of(Moment(time_us=at_us)) == wanted
            assert (await ledger.past.sequence_of(Moment(time_us=log_times[0]))) >= 1


@pytest.mark.parametrize("seed", [24, pytest.param(26, marks=pytest.mark.slow)])
async def test_a_node_is_told_from_its_own_events_as_from_the_whole_log(
    url: str, seed: int
) -> None:
    story = tell(seed, events=260, nodes=6, kind=CommandedStory)
    assert {"NodeRemoved", "NodeDraining", "nodes lost", "policies"} <= story.happened.keys()
    log, fleet, changed = StoredLog(), FleetState(), set[str]()
    log.publish(story.log)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        await ledger.reaches(log.last)
        for commit in story.log.commits:
            changed |= fleet.fold(commit).nodes
            if commit.sequence % 11 == 0:
                await nodes_are_told(ledger.answers.queries, fleet, changed)
                changed.clear()


async def nodes_are_told(queries: LedgerQueries, fleet: FleetState, node_ids: set[str]) -> None:
    """Ask for nodes by their ids and for every name, as they were when a state was folded."""
    views, moment = shown_nodes(fleet), Moment(fleet.position)
    for view in views:
        if view.id in node_ids:
            assert await queries.node(view.id, NOW, moment) == AsOf(view, fleet.position)
            there = shown_replicas(fleet, view.id)
            told = (await queries.node_replicas(view.id, "", moment)).value
            assert len(there) == told.total == len(told.items) == view.replicas
            assert {each.replica.id: each for each in told.items} == {
                each.replica.replica.id: each.replica for each in there
            }
            theirs = await queries.node_replicas(view.id, "nobody", moment)
            assert theirs == AsOf(Page((), len(there)), fleet.position)
    for name in (f"fog-{number}" for number in range(6)):
        called = [
            view for view in views if view.name == name and view.status is not NodeStatus.REMOVED
        ]
        if called:
            last = max(called, key=lambda view: view.epoch)
            assert (await queries.node(name, NOW, moment)).value == last
        else:
            with pytest.raises(NotFoundError):
                await queries.node(name, NOW, moment)


async def test_a_node_whose_replica_gave_way_without_being_named(url: str) -> None:
    fleet = LittleFleet()
    first = fleet.connect("fog-0")
    web = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    second = fleet.connect("fog-1")
    state = fleet.planner.fleet
    placed = ev.Placement(an_id("successor"), 0, 2, second, 1)
    outcome = ev.DeploymentPlaced(web, 1, a_spec().resources, (placed,))
    prev, now_us = state.decisions.prev_digest, fleet.log.now_us
    decided = ev.RoundDecided(prev, state.position, now_us, "p", b"", 1, 1, (), (outcome,))
    fleet.fold(fleet.log.round(decided))
    assert fleet.nodes_of(web) == ["fog-1"]
    assert state.use(first).held[0]
    assert not state.use(first).booked[0]
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        await ledger.reaches(log.last)
        await nodes_are_told(ledger.answers.queries, state, {first, second})


async def test_a_rollback_is_told_now_and_then_and_by_sql(url: str) -> None:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    web = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.update(web, replace(a_spec(replicas=2), container_image="slow:1"))
    fleet.settle()
    fleet.log.pass_ms(600_000)
    fleet.settle()
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        await ledger.reaches(log.last)
        queries = ledger.answers.queries
        found = await queries.deployment(web, "", NOW)
        assert await queries.deployment(web, "", NOW, Moment(log.last)) == found
        (listed,) = (await queries.deployments(FILTERS[0], NOW, Moment(log.last))).value.items
        assert (await queries.deployments(FILTERS[0], NOW)).value.items == (listed,)
        assert found.value.spec.container_image == "slow:1", "what its author asked for"
        assert found.value.reason.endswith("; rolled back from revision 2 to 1")
        latest = found.value.recent_changes[0]
        assert (latest.old, latest.new) == (DeploymentStatus.RUNNING, DeploymentStatus.RUNNING)
        assert latest.reason.startswith("Rolled back from revision 2 to 1: ")
        (row,) = await rows_of(url, "SELECT container_image, asked_image FROM deployments")
        assert tuple(row) == ("nginx:1.24", "slow:1")
    assert not any((await rebuild(url, None, lambda *_: None)).differed.values())


async def test_a_question_given_up_halfway_leaves_the_process_to_the_next(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    log, begun = StoredLog(), 0
    log.publish(fleet.log)

    @asynccontextmanager
    async def counted() -> AsyncIterator[ReplayProcess]:
        nonlocal begun
        begun += 1
        async with replay_process() as process:
            yield process

    async with a_running_ledger(url, log, replay=counted) as ledger:
        queries, then = ledger.answers.queries, Moment(log.last)
        wanted = await queries.nodes(9, 0, NOW, then)
        for turns in range(1, 60):
            question = asyncio.create_task(queries.nodes(9, 0, NOW, then))
            for _ in range(turns):
                await asyncio.sleep(0)
            question.cancel()
            await asyncio.gather(question, return_exceptions=True)
            assert await queries.nodes(9, 0, NOW, then) == wanted
        assert begun == 1


async def test_moments_that_the_log_does_not_have(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        first_us = fleet.log.commits[0].appended_at_us
        first = datetime.fromtimestamp(first_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for moment, words in (
            (Moment(log.last + 1), f"must be at most {log.last}, the log's last sequence"),
            (Moment(time_us=first_us - 1), f"before the log's first commit, {first}"),
            (Moment(time_us=253_402_300_799_999_999), "must not be in the future"),
            (Moment(time_us=10**18), "must not be in the future"),
        ):
            with pytest.raises(InvalidArgumentError, match=words):
                await ledger.past.sequence_of(moment)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        deployment_id = fleet.deploy(a_spec())
        log.publish(fleet.log)
        await ledger.reaches(log.last)
        past, then, owner = ledger.answers.queries, Moment(log.last), OWNER
        for asked in (
            past.deployment(deployment_id, "", NOW, Moment(log.last - 1)),
            past.deployment(deployment_id, "somebody else", NOW, then),
            past.deployment("none", "", NOW, then),
            past.node("none", NOW, then),
        ):
            with pytest.raises(NotFoundError):
                await asked
        assert (await past.deployment(deployment_id, owner, NOW, then)).value.owner_id == owner


async def test_a_cluster_at_each_commit_is_as_it_was_then(url: str) -> None:
    fleet = a_fleet(Quota(cpu_millicores=5000), common=Quota(replicas=9))
    kept = run(fleet, ask(2))
    run(fleet, ask(1, cluster_id=FREE))
    fleet.deploy(ask(4, wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=1)))
    fleet.fact(ev.OrganizationQuotaSet(1, Quota(cpu_millicores=90_000)))
    fleet.fact(ev.DeploymentDeleted(kept))
    fleet.settle()
    fleet.obey()
    log, log_times = StoredLog(), [commit.appended_at_us for commit in fleet.log.commits]
    log.publish(fleet.log)
    then, tracker, seen = FleetState(), StatusTracker(), set()
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        past = ledger.answers.queries
        for commit in fleet.log.commits:
            tracker.update(then, then.fold(commit))
            moment = Moment(commit.sequence)
            for number in (LIMITED, FREE):
                if number not in then.facts.clusters:
                    with pytest.raises(NotFoundError, match=f"no cluster {number} at log sequence"):
                        await past.cluster_status(number, NOW, moment)
                    continue
                counts = Counter(
                    tracker.current[each.id]
                    for each in then.facts.deployments.values()
                    if each.spec.cluster_id == number and not each.deleted
                )
                wanted = ClusterStatus(cluster_use(then, number), counts)
                told = await past.cluster_status(number, NOW, moment)
                assert told == AsOf(wanted, commit.sequence)
                seen.add((told.value.use.own.taken, told.value.use.own.quota, *counts))
        assert len(seen) > 8, "the story changes quotas, use and statuses"
        by_time = await past.cluster_status(LIMITED, NOW, Moment(time_us=max(log_times)))
        assert by_time == await past.cluster_status(LIMITED, NOW, Moment(log.last))
        for moment in (Moment(log.last + 1), Moment(time_us=log_times[0] - 1)):
            with pytest.raises(InvalidArgumentError, match="as_of: must"):
                await past.cluster_status(LIMITED, NOW, moment)


class Measuring(ReplayHere):
    """Notes how large what it is asked gets."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    async def _exchange(self, request: bytes) -> bytes:
        self.largest = max(self.largest, len(request))
        return await super()._exchange(request)


async def test_large_commits_that_touch_a_deployment_come_in_parts(url: str) -> None:
    fleet, log, holder = LittleFleet(), StoredLog(), Measuring()
    deployment_id = fleet.deploy(a_spec())
    for number in range(60):
        fleet.update(deployment_id, a_spec(labels={"notes": f"{number:02}" * 100_000}))
    log.publish(fleet.log)

    @asynccontextmanager
    async def held() -> AsyncIterator[ReplayProcess]:
        yield holder

    async with a_running_ledger(url, log, replay=held) as ledger:
        queries, then = ledger.answers.queries, Moment(log.last)
        now = await queries.deployment(deployment_id, "", NOW)
        assert await queries.deployment(deployment_id, "", NOW, then) == now
        assert 0 < holder.largest < 5 * 1024 * 1024
        await rows_of(url, "DELETE FROM commits WHERE sequence = 40")
        with pytest.raises(CopyDamagedError, match="copy of commit 40 is gone"):
            await queries.deployment(deployment_id, "", NOW, then)


class Dying(ReplayHere):
    """Ends at the first question about nodes, as a process does that is killed."""

    async def nodes_alone(self, taken: object) -> NoReturn:
        raise HolderEndedError("it ended")


async def test_who_ends_between_folding_and_showing_is_replaced(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    log, holders = StoredLog(), iter((Dying(), ReplayHere()))
    log.publish(fleet.log)

    @asynccontextmanager
    async def next_holder() -> AsyncIterator[ReplayProcess]:
        yield next(holders)

    async with a_running_ledger(url, log, replay=next_holder) as ledger:
        past, then = ledger.answers.queries, Moment(log.last)
        with pytest.raises(HolderEndedError):
            await past.nodes(9, 0, NOW, then)
        assert [each.name for each in (await past.nodes(9, 0, NOW, then)).value.items] == ["fog-0"]


async def test_a_process_of_its_own_answers_a_gateway(url: str) -> None:
    story = tell(32, events=40, nodes=3)
    story.log.fact(ev.ClusterQuotaSet(1, Quota(cpu_millicores=7, replicas=9)))
    log = StoredLog()
    log.publish(story.log)
    server = GrpcServer([])
    async with a_running_ledger(url, log) as ledger:
        ledger.serve(server.grpc)
        port = await server.start("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client, then = LedgerClient(channel), Moment(log.last)
            live = await client.deployments(DeploymentQuery())
            assert await client.deployments(DeploymentQuery(moment=then)) == live
            some = live.value.items[0].id
            assert await client.deployment(some, moment=then) == await client.deployment(some)
            with pytest.raises(NotFoundError, match="Node not found"):
                await client.node_replicas("nobody", "", then)
            told = await client.node_replicas("fog-0", "", then)
            assert told == await ledger.answers.queries.node_replicas("fog-0", "", then)
            nodes = await client.nodes(9, 0)
            assert await client.nodes(9, 0, moment=then) == nodes
            assert (await client.node("fog-0", moment=then)).value == nodes.value.items[0]
            wanted = await ledger.answers.queries.cluster_status(1, NOW, then)
            assert wanted.value.deployments
            wanted.value.use.cluster.created_position = 0  # which messages don't say
            assert await client.cluster_status(1, then) == wanted
            with pytest.raises(
                NotFoundError, match=r"no cluster 1 at log sequence 1: it was created"
            ):
                await client.cluster_status(1, Moment(1))
            with pytest.raises(InvalidArgumentError, match="as_of: must be at most"):
                await client.cluster_status(1, Moment(log.last + 1))
            with pytest.raises(InvalidArgumentError, match="as_of: must be at most"):
                await client.nodes(9, 0, moment=Moment(log.last + 1))
            with pytest.raises(NotFoundError, match=r"at log sequence 1: it was created") as missed:
                await client.deployment(some, moment=Moment(1))
            assert missed.value.sought == f"deployment/{some}"
            with pytest.raises(NotFoundError, match=r"at log sequence 1: it was added") as missed:
                await client.node("fog-0", moment=Moment(1))
            assert missed.value.sought == "node/fog-0"
        await server.stop(0)
