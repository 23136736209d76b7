"""What agents say: reports, heartbeats, changes of their host."""

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from fogbank.codec.values import fingerprint_to_pb
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.domain.node import NO_DETAILS
from fogbank.domain.states import NodeStatus, ReplicaState
from fogbank.log.memory import MemoryStore
from fogbank.runtime.clock import ManualClock
from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import deployments_pb2, facts_pb2, resources_pb2
from services.gateway.app.node_pace import (
    BURST,
    COMMITS_PER_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
)
from services.gateway.app.ports import HeardHeartbeat
from services.gateway.core.hello import Hello
from tests.golden.examples import DETAILS
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.gateway import GatewayWorld, gateway_world, memory_logs
from tests.support.named_users import ALICE
from tests.support.scripted_agent import ScriptedAgent, scripted_agent, seen
from tests.support.waiting import eventually

# --- reports ----------------------------------------------------------------------------------


async def test_a_report_is_acknowledged_when_the_fold_has_it(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment = await world.deployed()
    (replica,) = await world.scheduler.place(deployment, agent.node_id)
    await agent.assigned()

    await agent.report(seen(replica, ReplicaState.RUNNING))

    assert world.deployments.show(ALICE, deployment).running_replicas == 1


async def test_a_report_the_log_has_is_acknowledged_and_not_written_again(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await agent.report()
    before = await world.log.last_sequence()

    await agent.send_report(1)

    assert (await agent.next("ack")).number == 2
    assert await world.log.last_sequence() == before


async def test_a_report_whose_reasons_are_too_much_for_a_commit_is_taken_with_less_of_them(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    """Refused, it would come again and again: the agent numbered it, and has it on its disk."""
    await agent.shake_hands()
    deployment = await world.deployed()
    (replica,) = await world.scheduler.place(deployment, agent.node_id)
    await agent.assigned()
    told = seen(replica, ReplicaState.RUNNING)
    told.reason = "\N{CLOUD}" * 3_000

    await agent.report(*[told] * 256)

    (known,) = world.fold.fleet.facts.observed.values()
    assert known.reason == "\N{CLOUD}" * (1_024 // 3)


async def test_reports_may_come_without_waiting(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    for number in range(2, 22):
        await agent.send_report(number)

    while (await agent.next("ack")).number < 21:
        pass
    assert world.fold.fleet.facts.nodes[agent.node_id].last_report == 21


async def test_a_node_that_says_too_much_is_written_down_at_its_pace_and_nothing_is_lost(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    begun_s = asyncio.get_running_loop().time()
    for number in range(2, BURST + 13):
        await agent.send_report(number)

    while (await agent.next("ack")).number < BURST + 12:
        pass
    assert asyncio.get_running_loop().time() - begun_s > 10 / COMMITS_PER_S


async def test_of_a_node_that_beats_all_the_time_only_so_many_are_heard() -> None:
    clock = ManualClock()
    async with gateway_world(clock=clock) as world, scripted_agent(world.channel) as agent:
        await agent.shake_hands()  # its report is a message too
        for _ in range(MESSAGES_BURST + 10):
            await agent.beat()

        heard = world.telemetry.heard
        await eventually(lambda: len(heard) == MESSAGES_BURST - 1)
        clock.advance(2 / MESSAGES_PER_S)
        await eventually(lambda: len(heard) >= MESSAGES_BURST + 1)
        assert len(heard) == MESSAGES_BURST + 1


async def test_a_node_that_shakes_hands_all_the_time_is_told_when_to_come_again(
    world: GatewayWorld,
) -> None:
    hello = Hello(an_id("node"), "node-1", 0, 0, a_fingerprint())

    async def shake_hands() -> None:
        for _ in range(3 * BURST):
            async with world.agents.session(hello):
                pass

    with pytest.raises(ResourceExhaustedError) as refused:
        await shake_hands()

    assert refused.value.reason == "RATE_LIMITED"
    assert refused.value.retry_after_ms is not None
    assert refused.value.retry_after_ms <= 1_000 / COMMITS_PER_S


async def test_a_gap_in_the_reports_ends_the_stream(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await agent.send_report(agent.last_report + 2)

    end = await agent.end()

    assert end.code is grpc.StatusCode.ABORTED
    assert "report 3 came where 2 was to come" in end.details


async def test_a_report_of_an_old_epoch_ends_the_stream(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await agent.send_report(2, epoch=agent.epoch - 1)

    assert (await agent.end()).code is grpc.StatusCode.ABORTED


async def test_reports_outlive_an_outage_of_the_log() -> None:
    store = MemoryStore()
    async with (
        gateway_world(memory_logs(store)) as world,
        scripted_agent(world.channel) as agent,
    ):
        await agent.shake_hands()
        store.lose_appends = 1

        await agent.report()

        assert world.fold.fleet.facts.nodes[agent.node_id].last_report == 2


async def test_heartbeats_pass_reports_that_the_log_refuses() -> None:
    store = MemoryStore()
    async with (
        gateway_world(memory_logs(store)) as world,
        scripted_agent(world.channel) as agent,
    ):
        await agent.shake_hands()
        store.available = False
        for number in (2, 3):
            await agent.send_report(number)
        await agent.beat()
        await eventually(lambda: world.telemetry.heard)

        store.available = True
        store.wake()

        while (await agent.next("ack")).number < 3:
            pass


async def test_heartbeats_pass_what_the_log_neither_takes_nor_refuses(
    world: GatewayWorld, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.shake_hands()
    monkeypatch.setattr(world.log, "append", lambda *_, **__: asyncio.Event().wait())

    await agent.beat(95, 40)
    await agent.send_report(2)
    await agent.beat(50, 10)

    await eventually(lambda: len(world.telemetry.heard) == 2)


async def test_a_load_that_the_log_refused_is_logged_with_a_later_heartbeat() -> None:
    store = MemoryStore()
    async with (
        gateway_world(memory_logs(store)) as world,
        scripted_agent(world.channel) as agent,
    ):
        await agent.shake_hands()
        store.available = False
        with capture_logs() as said:
            await agent.beat(95, 40)
            await eventually(lambda: [each for each in said if each["event"] == "load not logged"])
        store.available = True
        store.wake()

        async def beaten() -> bool:
            await agent.beat(97, 41)
            return world.fold.fleet.facts.nodes[agent.node_id].cpu_percent == 97

        await eventually(beaten)


@pytest.mark.parametrize(
    "message",
    [
        {"hello": pb.Hello()},
        {},
        {
            "report": pb.Report(
                number=2, observations=[facts_pb2.ReplicaObservation(replica_id="x" * 300)]
            )
        },
        {"report": pb.Report(number=2, observations=[facts_pb2.ReplicaObservation()])},
        {
            "report": pb.Report(
                number=2,
                observations=[
                    facts_pb2.ReplicaObservation(state=deployments_pb2.REPLICA_STATE_PENDING)
                ]
                * 1_025,
            )
        },
        {
            "report": pb.Report(
                number=2,
                observations=[facts_pb2.ReplicaObservation(state=99)],  # type: ignore[arg-type]
            )
        },
        {
            "heartbeat": pb.Heartbeat(
                usage=resources_pb2.Usage(cpu_percent=float("nan"), memory_percent=1)
            )
        },
        {
            "capacity_change": pb.CapacityChange(
                fingerprint=fingerprint_to_pb(a_fingerprint(memory=-1))
            )
        },
    ],
)
async def test_a_malformed_message_ends_the_stream(
    world: GatewayWorld, agent: ScriptedAgent, message: dict[str, object]
) -> None:
    await agent.shake_hands()
    if "report" in message:
        report = message["report"]
        assert isinstance(report, pb.Report)
        report.epoch = agent.epoch
    await agent.say(**message)

    assert (await agent.end()).code is grpc.StatusCode.INVALID_ARGUMENT


# --- heartbeats and capacity ------------------------------------------------------------------


async def test_heartbeats_are_passed_on_and_not_stored(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    before = await world.log.last_sequence()

    await agent.beat(5, 7.5)

    (heard,) = await eventually(lambda: world.telemetry.heard)
    assert (heard.node_id, heard.epoch) == (agent.node_id, agent.epoch)
    assert (heard.cpu_percent, heard.memory_percent) == (5, 7.5)
    assert await world.log.last_sequence() == before


async def test_who_wrote_the_last_round_tells_agents_that_they_were_heard(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await agent.say(heartbeat=pb.Heartbeat(number=7))
    (heard,) = await eventually(lambda: world.telemetry.heard)
    assert heard.number == 7
    deployment_id = await world.deployed()
    await world.scheduler.place(deployment_id, agent.node_id)
    await agent.assigned()
    of_another_epoch = HeardHeartbeat(agent.node_id, agent.epoch - 1, 9)
    world.agents.heard("hand", [of_another_epoch, HeardHeartbeat(an_id("elsewhere"), 1, 9)])
    world.agents.heard("a former leader", [HeardHeartbeat(agent.node_id, agent.epoch, 8)])
    world.agents.heard("hand", [HeardHeartbeat(agent.node_id, agent.epoch, 7)])

    assert (await agent.next("heartbeat_answer")).number == 7


async def test_a_load_that_moved_by_a_step_is_logged_once(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    before = await world.log.last_sequence()

    await agent.beat(95, 40)
    await agent.beat(50, 10)

    await eventually(lambda: len(world.telemetry.heard) == 2)
    await agent.report()  # written down behind all that was said before
    node = world.fold.fleet.facts.nodes[agent.node_id]
    assert (node.cpu_percent, node.memory_percent) == (95, 40)
    assert node.load_reflects == agent.sequence
    assert world.fold.fleet.node_status(node) is NodeStatus.BUSY
    assert await world.log.last_sequence() == before + 2, "one load and the report"


async def test_a_host_that_changed_is_a_fact(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    larger = a_fingerprint(cpu=8000)
    for details in (NO_DETAILS, NO_DETAILS, DETAILS, DETAILS):
        message = fingerprint_to_pb(larger, details)
        await agent.say(capacity_change=pb.CapacityChange(fingerprint=message))
    await agent.report()

    facts = world.fold.fleet.facts
    assert facts.nodes[agent.node_id].fingerprint == larger
    assert facts.details_of(agent.node_id) == DETAILS
    commits = [commit async for batch in world.log.read(1, 100) for commit in batch]
    assert sum(b"NodeCapacityChanged" in commit.data for commit in commits) == 2
