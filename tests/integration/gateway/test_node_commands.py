"""NodeService's commands over loopback gRPC: what they change, and whom they refuse."""

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from fogbank.domain.states import NodeStatus, ReplicaState
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import agent_service_pb2 as agent_pb
from fogbank.v1 import node_service_pb2 as pb
from tests.support.gateway import GatewayWorld, refusal, signed_in
from tests.support.scripted_agent import ScriptedAgent, scripted_agent

ADMIN = signed_in("admin")


async def call(world: GatewayWorld, method: str, **fields: Any) -> Any:
    request = getattr(pb, f"{method}Request")(**fields)
    return await getattr(world.node_service, method)(request, metadata=ADMIN)


def status(world: GatewayWorld, agent: ScriptedAgent) -> NodeStatus:
    fleet = world.fold.fleet
    return fleet.node_status(fleet.facts.nodes[agent.node_id])


async def test_cordon_drain_uncordon_and_the_same_answer_twice(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    cordoned = await call(
        world, "CordonNode", node=agent.name, reason=" a new disk ", request_id="one"
    )
    assert cordoned.node.cordoned
    assert cordoned.node.reason == "Cordoned: a new disk"
    assert status(world, agent) is NodeStatus.MAINTENANCE
    drained = await call(world, "DrainNode", node=agent.node_id, deadline=Duration(seconds=600))
    assert drained.node.draining
    assert drained.node.drain_deadline.seconds > 0
    assert drained.node.reason == "Drained: a new disk"
    moved = await call(world, "DrainNode", node=agent.node_id, reason=" the rack moves ")
    assert moved.node.reason == "Drained: the rack moves"
    open_again = await call(world, "UncordonNode", node=agent.name)
    assert not open_again.node.draining
    assert status(world, agent) is NodeStatus.IDLE
    position = world.fold.position
    await call(world, "CordonNode", node=agent.name, reason="a new disk", request_id="one")
    assert world.fold.position == position, "a repeat is not said again"
    assert status(world, agent) is NodeStatus.IDLE
    other = call(world, "CordonNode", node=agent.name, reason="a clash", request_id="one")
    assert (await refusal(other)).code() is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize("method", ["CordonNode", "UncordonNode", "DrainNode", "RemoveNode"])
async def test_only_administrators_may_and_only_with_nodes_that_there_are(
    world: GatewayWorld, agent: ScriptedAgent, method: str
) -> None:
    await agent.shake_hands()
    request = getattr(pb, f"{method}Request")
    by_alice = getattr(world.node_service, method)(
        request(node=agent.name), metadata=signed_in("alice")
    )
    assert (await refusal(by_alice)).code() is grpc.StatusCode.PERMISSION_DENIED
    nowhere = await refusal(call(world, method, node="nowhere"))
    assert nowhere.code() is grpc.StatusCode.NOT_FOUND
    assert nowhere.details() == "Node not found"
    assert from_rpc_error(nowhere).sought == "node/nowhere"
    assert (await refusal(call(world, method))).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_makes_no_sense_is_refused(world: GatewayWorld, agent: ScriptedAgent) -> None:
    await agent.shake_hands()
    for method, fields in (
        ("CordonNode", {"reason": "x" * 257}),
        ("DrainNode", {"deadline": Duration(seconds=-1)}),
        ("DrainNode", {"reason": "r" * 257}),
        ("DrainNode", {"deadline": Duration(seconds=400 * 24 * 3600)}),
    ):
        error = await refusal(call(world, method, node=agent.name, **fields))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_node_with_replicas_is_removed_by_force_only_and_its_agent_is_told(
    world: GatewayWorld, agent: ScriptedAgent
) -> None:
    await agent.shake_hands()
    deployment_id = await world.deployed()
    (replica_id,) = await world.scheduler.place(deployment_id, agent.node_id)
    await agent.assigned()
    refused = await refusal(call(world, "RemoveNode", node=agent.name))
    assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.details() == (
        "1 replica is on node node-1; drain it first, or use force: then they count as lost at once"
    )
    await call(world, "RemoveNode", node=agent.name, force=True, request_id="gone")
    last = await agent.next("assignments")
    assert last.kind == agent_pb.ASSIGNMENTS_KIND_COMPLETE
    assert not last.assignments
    end = await agent.end()
    assert end.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "was removed from the fleet" in end.details
    fleet = world.fold.fleet
    assert fleet.replica_state(fleet.decisions.placements[replica_id]) is ReplicaState.ORPHANED
    await call(world, "RemoveNode", node=agent.name, force=True, request_id="gone")
    async with scripted_agent(world.channel) as returning:
        await returning.hello(last_epoch=agent.epoch)
        end = await returning.end()
        assert end.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "give its agent an empty data folder" in end.details
    listed = await world.node_service.ListNodes(pb.ListNodesRequest(), metadata=ADMIN)
    assert listed.total_size == 0
