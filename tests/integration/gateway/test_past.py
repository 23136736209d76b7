"""Past moments asked for over gRPC and REST: what the ledger is asked, and who may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.domain.views import Moment
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2, identity_service_pb2, node_service_pb2
from fogbank.v1.moments_pb2 import Moment as PbMoment
from tests.integration.gateway.test_organizations import VIEWER, Caller
from tests.support.gateway import GatewayWorld, gateway_world, refusal, signed_in
from tests.support.rest_face import RestFace, deploy_body, rest_face

AT_US = 1_930_000_000_250_000
AT = Timestamp(seconds=1_930_000_000, nanos=250_000_000)
ISO = datetime.fromtimestamp(1_930_000_000.25, UTC).isoformat()


@pytest.fixture
async def world() -> AsyncIterator[GatewayWorld]:
    async with gateway_world() as world:
        yield world


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


async def state_at(world: GatewayWorld, user: str, aggregate: str = "", **at: Any) -> Any:
    request = pb.GetStateAtRequest(aggregate=aggregate, **(at or {"sequence": 1}))
    return await world.audit_service.GetStateAt(request, metadata=signed_in(user))


async def test_everything_to_administrators_and_their_own_to_others(world: GatewayWorld) -> None:
    mine = await world.deployed()
    everything = await state_at(world, "admin", time=AT)
    assert [each.id for each in everything.deployments] == [mine]
    # The first answer says which commit the time is, and the others are asked about that one.
    first, *others = world.ledger.moments
    assert first == Moment(time_us=AT_US)
    assert set(others) == {Moment(everything.as_of_sequence)}
    assert [each.id for each in (await state_at(world, "alice")).deployments] == [mine]
    assert not (await state_at(world, "bob")).deployments
    assert (await state_at(world, "alice", f"deployment/{mine}")).deployments[0].id == mine
    for user, seen in (("alice", [mine]), ("admin", [mine]), ("bob", [])):
        there = await state_at(world, user, "cluster/1", sequence=9)
        assert [each.id for each in there.deployments] == seen
    for cluster in ("cluster/7", "cluster/x"):
        error = await refusal(state_at(world, "alice", cluster))
        assert error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
    error = await refusal(state_at(world, "bob", f"deployment/{mine}"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("aggregate", "at", "field"),
    [
        ("user/x", {"sequence": 1}, "aggregate"),
        ("deployment/", {"sequence": 1}, "aggregate"),
        ("/", {"sequence": 1}, "aggregate"),
        ("cluster/" + "9" * 5_000, {"sequence": 1}, "aggregate"),
        ("", {"sequence": -1}, "as_of.sequence"),
        ("", {"sequence": 0}, "as_of.sequence"),
        ("", {"time": Timestamp()}, "as_of.time"),
    ],
)
async def test_what_is_no_question(
    world: GatewayWorld, aggregate: str, at: dict[str, Any], field: str
) -> None:
    error = await refusal(state_at(world, "admin", aggregate, **at))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith(f"{field}: must be")


async def test_a_state_needs_a_moment(world: GatewayWorld) -> None:
    call = world.audit_service.GetStateAt(pb.GetStateAtRequest(), metadata=signed_in("admin"))
    assert "at: must be a sequence or a time" in ((await refusal(call)).details() or "")


async def test_single_answers_and_lists_over_grpc(world: GatewayWorld) -> None:
    mine, as_of, alice = await world.deployed(), PbMoment(sequence=2), signed_in("alice")
    asked = world.ledger.moments
    get = deployment_service_pb2.GetDeploymentRequest(deployment_id=mine, as_of=as_of)
    await world.deployment_service.GetDeployment(get, metadata=alice)
    listed = deployment_service_pb2.ListDeploymentsRequest(as_of=as_of)
    await world.deployment_service.ListDeployments(listed, metadata=alice)
    nodes = node_service_pb2.ListNodesRequest(as_of=as_of)
    await world.node_service.ListNodes(nodes, metadata=alice)
    node = node_service_pb2.GetNodeRequest(node="nobody", as_of=as_of)
    await refusal(world.node_service.GetNode(node, metadata=alice))
    there = node_service_pb2.ListNodeReplicasRequest(node="nobody", as_of=as_of)
    await refusal(world.node_service.ListNodeReplicas(there, metadata=alice))
    cluster = identity_service_pb2.GetClusterStatusRequest(cluster_id=1, as_of=as_of)
    status = await world.identity_service.GetClusterStatus(cluster, metadata=alice)
    assert dict(status.deployments) == {"pending": 1}
    assert asked == [Moment(2)] * 6


async def test_the_past_of_a_cluster_is_shown_to_those_who_are_members_now(
    world: GatewayWorld,
) -> None:
    alice, bob = Caller(world, "alice"), Caller(world, "bob")
    await alice.CreateOrganization(name="ours")
    await alice.CreateCluster(name="edge", organization_id=2)
    asked = {"cluster_id": 2, "as_of": PbMoment(sequence=9)}
    not_found = (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")
    assert await bob.refused("GetClusterStatus", **asked) == not_found
    invite = (await alice.RenewInviteCode(organization_id=2, role=VIEWER)).invite
    await bob.JoinOrganization(invite_code=invite.code)
    assert (await bob.GetClusterStatus(**asked)).cluster.name == "edge"
    await alice.RemoveMember(organization_id=2, user="bob")
    assert await bob.refused("GetClusterStatus", **asked) == not_found
    assert world.ledger.moments == [Moment(9)], "who may not see it asks the ledger nothing"
    wrong = {"cluster_id": 2, "as_of": PbMoment(sequence=-1)}
    error = await refusal(alice.GetClusterStatus(**wrong))
    assert (error.details() or "").startswith("as_of.sequence: must be at least 1")


async def test_single_answers_and_lists_over_rest(face: RestFace) -> None:
    async with face.client() as client:
        answer = await client.post("/api/deployment/deploy", json=deploy_body())
        status = f"/api/deployment/status/{answer.json()['deployment_id']}"
        await face.add_nodes("fog-0")
        paths = (
            status,
            "/api/deployment/list",
            "/cluster/nodes",
            "/cluster/nodes/fog-0",
            "/api/clusters/1/status",
        )
        for path in paths:
            for text, wanted in (("7", Moment(7)), (ISO, Moment(time_us=AT_US))):
                assert (await client.get(path, params={"as_of": text})).status_code == 200
                assert face.ledger.moments[-1] == wanted
            for bad in ("0", "-1", "yesterday", "9" * 40, "9" * 5_000, "0001-01-01", "7.5"):
                refused = await client.get(path, params={"as_of": bad})
                assert refused.status_code == 400
                assert refused.json()["detail"].startswith("as_of: must be a log sequence")
