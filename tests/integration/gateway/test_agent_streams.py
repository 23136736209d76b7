"""Agents' streams over loopback gRPC: handshake, assignments, reports, every way to end."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from fogbank.domain import events as ev
from fogbank.domain.states import NodeStatus, ReplicaState
from fogbank.v1 import agent_service_pb2 as pb
from services.gateway.app.handshakes import Handshakes
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.app.ports import GatewayError
from services.node_agent.core import effects as ef
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.gateway import AGENT_TOKEN, GatewayWorld, gateway_world
from tests.support.named_users import ALICE
from tests.support.scripted_agent import ScriptedAgent, scripted_agent, seen
from tests.support.waiting import eventually

# --- many at once -----------------------------------------------------------------------------


async def test_of_many_handshakes_some_wait_and_the_rest_come_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(gateway_world())
        world.agents.handshakes = Handshakes(1)
        before = await stack.enter_async_context(scripted_agent(world.channel, "before"))
        await before.shake_hands()
        taking, append = asyncio.Event(), world.log.append

        async def slowly(*data: Any, **expected: Any) -> int:
            await taking.wait()
            return await append(*data, **expected)

        monkeypatch.setattr(world.log, "append", slowly)
        agents = [
            await stack.enter_async_context(scripted_agent(world.channel, f"node-{number}"))
            for number in range(5)
        ]
        for agent in agents:
            await agent.hello()
        waiting = "fog_gateway_handshakes_waiting"
        await eventually(lambda: REGISTRY.get_sample_value(waiting) == 4)

        # As an agent sees it.
        gateways = await stack.enter_async_context(GrpcGateways([world.address], AGENT_TOKEN))
        async with gateways.open(0, an_id("one too many"), "one too many") as stream:
            stream.send(ef.Hello(0, 0, a_fingerprint(), ()))
            with pytest.raises(GatewayError) as sent_away:
                await anext(stream.messages())
        assert (sent_away.value.refused, sent_away.value.retry_after_s) == (False, 1)
        await before.beat()
        await eventually(lambda: world.telemetry.heard)

        taking.set()
        for agent in agents:
            await agent.next("welcome")


# --- the handshake ----------------------------------------------------------------------------


async def test_a_handshake_makes_an_epoch(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.hello()
    welcome = await agent.next("welcome")

    node = world.fold.fleet.facts.nodes[agent.node_id]
    assert welcome.epoch == node.epoch
    assert welcome.heartbeat_period_ms == 5000
    assert welcome.last_report_number == 0
    first = await agent.next("assignments")
    assert first.kind == pb.ASSIGNMENTS_KIND_COMPLETE
    assert list(first.assignments) == []
    assert world.agents.count == 1


async def test_the_first_report_confirms_the_epoch(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()

    assert world.fold.fleet.facts.nodes[agent.node_id].confirmed_epoch == agent.epoch


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_without_the_bearer_nobody_gets_in(world: GatewayWorld, token: str) -> None:
    async with scripted_agent(world.channel, token=token) as agent:
        await agent.hello()
        end = await agent.end()

    assert end.code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_first_message_must_be_a_hello(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.beat()

    assert (await agent.end()).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": "nonsense"},
        {"name": ""},
        {"last_epoch": -1},
        {"fingerprint": a_fingerprint(cpu=-5)},
    ],
)
async def test_a_malformed_hello_is_refused(
    world: GatewayWorld, agent: ScriptedAgent, changes: dict[str, object]
) -> None:
    await agent.hello(**changes)  # type: ignore[arg-type]

    assert (await agent.end()).code is grpc.StatusCode.INVALID_ARGUMENT
    assert await world.log.last_sequence() == 1


async def test_a_copy_of_a_node_is_refused(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    async with scripted_agent(world.channel) as copy:
        await copy.hello()
        end = await copy.end()

    assert end.code is grpc.StatusCode.FAILED_PRECONDITION
    await agent.report()  # the original goes on


async def test_a_name_that_is_taken_is_refused_until_its_node_is_offline(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    other = an_id("another disk")
    async with scripted_agent(world.channel) as second:
        await second.hello(node_id=other)
        assert (await second.end()).code is grpc.StatusCode.ALREADY_EXISTS

    await world.scheduler.offline(agent.node_id)

    async with scripted_agent(world.channel) as second:
        await second.hello(node_id=other)
        await second.next("welcome")


async def test_two_at_once_cannot_take_the_same_name(world: GatewayWorld) -> None:
    async with scripted_agent(world.channel) as one, scripted_agent(world.channel) as two:
        await asyncio.gather(one.hello(), two.hello(node_id=an_id("another disk")))
        answers = await asyncio.gather(one.next(), two.next(), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["StreamEndedError", "Welcome"]


async def test_assignments_wait_until_the_gateway_is_as_far_as_the_agent(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.hello(last_sequence=3)
    await agent.next("welcome")  # sequence 2
    assert world.fold.position == 2

    await world.deployments.create(ALICE, a_spec())

    assert (await agent.next("assignments")).sequence == 3


async def test_an_agent_from_the_future_is_sent_elsewhere() -> None:
    async with gateway_world(timeout_s=0.05) as world, scripted_agent(world.channel) as agent:
        await agent.hello(last_sequence=1000)
        end = await agent.end()

    assert end.code is grpc.StatusCode.UNAVAILABLE


# --- assignments ------------------------------------------------------------------------------


async def test_replicas_are_assigned_changed_and_forgotten(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment = await world.deployed(2, GREETING="hello")

    replicas = await world.scheduler.place(deployment, agent.node_id, agent.node_id)
    run = await agent.assigned()

    assert {each.replica_id for each in run.assignments} == set(replicas)
    first = run.assignments[0]
    assert first.desired == pb.DESIRED_STATE_RUN
    assert (first.deployment_id, first.deployment_name) == (deployment, "web")
    assert first.container_image == "nginx:1.24"
    assert first.resources.cpu_millicores == 1000
    assert dict(first.env) == {"GREETING": "hello"}

    await world.scheduler.release(deployment, replicas[1])
    (stop,) = (await agent.assigned()).assignments
    assert (stop.replica_id, stop.desired) == (replicas[1], pb.DESIRED_STATE_STOP)

    agent.last_report += 1
    await agent.send_report(agent.last_report, seen(replicas[1], ReplicaState.STOPPED, final=True))
    assert (await agent.next("ack")).number == agent.last_report
    (forget,) = (await agent.assigned()).assignments
    assert (forget.replica_id, forget.desired) == (replicas[1], pb.DESIRED_STATE_FORGET)


async def test_an_agent_that_returns_gets_all_there_is(world: GatewayWorld) -> None:
    async with scripted_agent(world.channel) as agent:
        await agent.shake_hands()
        deployment = await world.deployed(2)
        replicas = await world.scheduler.place(deployment, agent.node_id, agent.node_id)
        await agent.assigned()
    await world.scheduler.release(deployment, replicas[0])

    async with scripted_agent(world.channel) as again:
        first = await again.shake_hands(last_epoch=agent.epoch, last_sequence=agent.sequence)

    assert first.sequence >= agent.sequence
    assert {each.replica_id: each.desired for each in first.assignments} == {
        replicas[0]: pb.DESIRED_STATE_STOP,
        replicas[1]: pb.DESIRED_STATE_RUN,
    }
    assert again.last_report == agent.last_report + 1


async def test_nodes_hear_only_of_their_own(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    async with scripted_agent(world.channel, "node-2") as other:
        await other.shake_hands()
        deployment = await world.deployed(1)
        await world.scheduler.place(deployment, other.node_id)
        await other.assigned()
        await agent.report()  # the next message is its own acknowledgement


async def test_assignments_wait_for_the_environment_they_need(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment = await world.deployed(1, SECRET="x")
    world.environments.up = False
    await world.scheduler.place(deployment, agent.node_id)
    await agent.report()  # reports go on meanwhile

    world.environments.up = True

    (run,) = (await agent.assigned()).assignments
    assert dict(run.env) == {"SECRET": "x"}


async def test_a_replica_whose_environment_is_lost_is_not_started(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    lost = await world.deployed(1, SECRET="x")
    world.environments.kept.clear()

    (replica,) = await world.scheduler.place(lost, agent.node_id)

    (told,) = (await agent.assigned()).assignments
    assert (told.replica_id, told.desired) == (replica, pb.DESIRED_STATE_RUN)
    assert told.env_missing
    assert not told.env


async def test_a_replica_that_runs_goes_on_when_its_environment_is_lost(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    lost, sound = await world.deployed(1, SECRET="x"), await world.deployed(1)
    placed = [*await world.scheduler.place(lost, agent.node_id)]
    await agent.assigned()
    placed += await world.scheduler.place(sound, agent.node_id)
    await agent.assigned()
    world.environments.kept.clear()
    async with scripted_agent(world.channel) as again:
        told = (await again.shake_hands(last_epoch=agent.epoch)).assignments

    # What a complete list doesn't name is stopped.
    assert {each.replica_id: each.env_missing for each in told} == {
        placed[0]: True,
        placed[1]: False,
    }


async def test_a_replica_whose_revision_is_no_longer_kept_goes_on_and_is_not_started_as_another(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment = await world.deployed(1)
    await world.scheduler.place(deployment, agent.node_id)
    await agent.assigned()
    fact = world.fold.fleet.facts.deployments[deployment]
    for number in range(2, 13):
        # As updates were before they said what is needed.
        await world.append(
            ev.DeploymentUpdated(deployment, replace(fact.spec, container_image=f"nginx:{number}"))
        )
    async with scripted_agent(world.channel) as again:
        (told,) = (await again.shake_hands(last_epoch=agent.epoch)).assignments

    assert (told.desired, told.env_missing) == (pb.DESIRED_STATE_RUN, True)
    assert told.container_image == ""


async def test_an_agent_learns_where_the_log_is_with_a_replica(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment = await world.deployed(1)
    (replica,) = await world.scheduler.place(deployment, agent.node_id)
    (told,) = (await agent.assigned()).assignments
    assert told.restart_count == 0
    await agent.report(seen(replica, ReplicaState.RUNNING, restart_count=2))
    async with scripted_agent(world.channel) as again:
        (told,) = (await again.shake_hands(last_epoch=agent.epoch)).assignments

    assert told.restart_count == 3


# --- how streams end --------------------------------------------------------------------------


async def test_a_newer_stream_ends_the_older_one(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    async with scripted_agent(world.channel) as newer:
        await newer.shake_hands(last_epoch=agent.epoch)

        assert (await agent.end()).code is grpc.StatusCode.ABORTED
        await newer.report()
        assert world.agents.count == 1


async def test_a_newer_stream_at_another_gateway_ends_the_older_one(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    async with (
        gateway_world(world.log_of, instance="two") as other,
        scripted_agent(other.channel) as newer,
    ):
        await newer.shake_hands(last_epoch=agent.epoch)

        assert (await agent.end()).code is grpc.StatusCode.ABORTED
    await eventually(lambda: world.agents.count == 0)


async def test_a_node_that_was_declared_offline_shakes_hands_again(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await world.scheduler.offline(agent.node_id)

    end = await agent.end()

    assert end.code is grpc.StatusCode.ABORTED
    assert "offline" in end.details
    async with scripted_agent(world.channel) as again:
        await again.shake_hands(last_epoch=agent.epoch)
    node = world.fold.fleet.facts.nodes[agent.node_id]
    assert world.fold.fleet.node_status(node) is NodeStatus.IDLE


async def test_a_gateway_that_stops_sends_its_agents_elsewhere(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()

    world.agents.drain("bye")

    assert (await agent.next("drain")).reason == "bye"
    assert (await agent.end()).code is grpc.StatusCode.OK
    async with scripted_agent(world.channel, "node-2") as late:
        await late.hello()
        assert (await late.end()).code is grpc.StatusCode.UNAVAILABLE


async def test_an_agent_may_end_the_stream(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    await agent.hang_up()

    assert (await agent.end()).code is grpc.StatusCode.OK
    await eventually(lambda: world.agents.count == 0)


async def test_a_broken_connection_frees_the_session(world: GatewayWorld) -> None:
    async with scripted_agent(world.channel) as agent:
        await agent.shake_hands()
        assert world.agents.count == 1

    await eventually(lambda: world.agents.count == 0)


async def test_many_agents_hear_of_their_replicas(world: GatewayWorld) -> None:
    spec = replace(a_spec(), replicas=50)
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Barrier(51)
        told = [group.create_task(_one_of_many(world, number, ready)) for number in range(50)]
        await ready.wait()
        deployment = (await world.deployments.create(ALICE, spec)).deployment_id
        nodes = [an_id(f"many-{number}") for number in range(50)]
        replicas = await world.scheduler.place(deployment, *nodes)

    assert [task.result() for task in told] == replicas


async def _one_of_many(world: GatewayWorld, number: int, ready: asyncio.Barrier) -> str:
    async with scripted_agent(world.channel, f"many-{number}") as agent:
        await agent.shake_hands()
        await ready.wait()
        (run,) = (await agent.assigned()).assignments
        replica_id: str = run.replica_id
        await agent.report(seen(replica_id, ReplicaState.RUNNING))
        return replica_id


async def test_a_round_for_an_unknown_node_disturbs_nobody(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    await world.scheduler.decide(ev.NodeOffline(an_id("never seen"), 1, 1))

    await agent.report()
