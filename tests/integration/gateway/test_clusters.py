"""Clusters over gRPC: who may make, see and fill them, and how much of them is used."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from fogbank.codec.values import spec_to_pb
from fogbank.domain import events as ev
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import deployment_service_pb2 as dpb
from fogbank.v1 import facts_pb2, resources_pb2
from tests.integration.gateway.test_organizations import VIEWER, Caller
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.gateway import GatewayWorld, refusal, signed_in

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_LACKING")
QUOTA = resources_pb2.Quota(cpu_millicores=8000, memory_mib=4096, gpu_thousandths=0, replicas=5)


class Scene:
    """Alice's organization 2 with its cluster 2; bob is a viewer there, carol a stranger."""

    def __init__(self, world: GatewayWorld) -> None:
        self.world = world
        self.alice, self.bob, self.carol, self.admin = (
            Caller(world, name) for name in ("alice", "bob", "carol", "admin")
        )

    async def deploy(self, who: str, cluster_id: int = 2, **fields: Any) -> Any:
        spec = spec_to_pb(a_spec(cluster_id=cluster_id, **fields))
        return await self.world.deployment_service.CreateDeployment(
            dpb.CreateDeploymentRequest(spec=spec), metadata=signed_in(who)
        )

    async def refused_to_deploy(self, who: str, cluster_id: int = 2) -> tuple[Any, str]:
        error = await refusal(self.deploy(who, cluster_id))
        return error.code(), from_rpc_error(error).reason


@pytest.fixture
async def scene(world: GatewayWorld) -> Scene:
    made = Scene(world)
    await made.alice.CreateOrganization(name="ours")
    await made.alice.CreateCluster(name="edge", organization_id=2, total=QUOTA)
    invite = (await made.alice.RenewInviteCode(organization_id=2, role=VIEWER)).invite
    await made.bob.JoinOrganization(invite_code=invite.code)
    return made


async def test_members_see_their_clusters_and_administrators_all(scene: Scene) -> None:
    seen = {}
    for who in (scene.alice, scene.bob, scene.carol, scene.admin):
        listed = await who.ListClusters()
        assert listed.total_size == len(listed.clusters)
        seen[who.name] = [each.id for each in listed.clusters]
    assert seen == {"alice": [1, 2], "bob": [1, 2], "carol": [1], "admin": [1, 2]}
    first = await scene.alice.ListClusters(page_size=1)
    rest = await scene.alice.ListClusters(page_size=1, page_token=first.next_page_token)
    (edge,) = rest.clusters
    assert (edge.name, edge.organization_id, edge.total) == ("edge", 2, QUOTA)
    assert not first.clusters[0].HasField("total")


async def test_who_may_make_clusters(scene: Scene) -> None:
    asked = {"name": "more", "organization_id": 2, "request_id": "1"}
    assert await scene.bob.refused("CreateCluster", **asked) == DENIED
    made = (await scene.alice.CreateCluster(**asked)).cluster
    assert (await scene.alice.CreateCluster(**asked)).cluster == made, "a repeat"
    await scene.alice.SetMemberRole(
        organization_id=2, user="bob", role=facts_pb2.MEMBERSHIP_ROLE_OPERATOR
    )
    assert (await scene.bob.CreateCluster(name="bobs", organization_id=2)).cluster.id == 4
    assert (await scene.carol.CreateCluster(name="all", organization_id=1)).cluster.id == 5
    assert (await scene.admin.CreateCluster(name="ops", organization_id=2)).cluster.id == 6


async def test_owners_set_the_quota(scene: Scene) -> None:
    quota = resources_pb2.Quota(cpu_millicores=1)
    asked = {"cluster_id": 2, "total": quota, "request_id": "1"}
    assert await scene.bob.refused("SetClusterQuota", **asked) == DENIED
    assert await scene.carol.refused("SetClusterQuota", **asked) == NOT_FOUND
    assert await scene.carol.refused("SetClusterQuota", cluster_id=1) == DENIED
    assert (await scene.alice.SetClusterQuota(**asked)).cluster.total == quota
    unlimited = (await scene.alice.SetClusterQuota(cluster_id=2)).cluster
    assert not unlimited.HasField("total")
    wrong = resources_pb2.Quota(cpu_millicores=-1, replicas=1 << 41)
    error = await refusal(scene.alice.SetClusterQuota(cluster_id=2, total=wrong))
    assert [each.field for each in from_rpc_error(error).violations] == [
        "total.cpu_millicores",
        "total.replicas",
    ]


async def test_who_may_deploy_where(scene: Scene) -> None:
    await scene.deploy("alice")
    await scene.deploy("admin")
    await scene.deploy("carol", cluster_id=1)
    assert await scene.refused_to_deploy("bob") == DENIED
    assert await scene.refused_to_deploy("carol") == NOT_FOUND
    assert await scene.refused_to_deploy("alice", cluster_id=9) == NOT_FOUND


async def test_each_of_a_batch_is_judged_alone(scene: Scene) -> None:
    requests = [
        dpb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(cluster_id=number)))
        for number in (1, 2, 9)
    ]
    answer = await scene.world.deployment_service.CreateDeployments(
        dpb.CreateDeploymentsRequest(requests=requests), metadata=signed_in("bob")
    )
    reasons = [outcome.error_reason for outcome in answer.outcomes]
    assert reasons == ["", "ROLE_LACKING", "CLUSTER_NOT_FOUND"]


async def test_who_was_removed_may_delete_what_is_theirs_and_nothing_else(scene: Scene) -> None:
    await scene.alice.SetMemberRole(
        organization_id=2, user="bob", role=facts_pb2.MEMBERSHIP_ROLE_OPERATOR
    )
    deployment_id = (await scene.deploy("bob")).deployment.id
    await scene.alice.RemoveMember(organization_id=2, user="bob")
    service, bob = scene.world.deployment_service, signed_in("bob")
    for call in (
        service.ScaleDeployment(
            dpb.ScaleDeploymentRequest(deployment_id=deployment_id, replicas=2), metadata=bob
        ),
        service.UpdateDeployment(
            dpb.UpdateDeploymentRequest(
                update_mask=FieldMask(paths=["resources"]),
                deployment_id=deployment_id,
                spec=spec_to_pb(a_spec(cpu=2000)),
            ),
            metadata=bob,
        ),
        service.PlanDeployment(
            dpb.PlanDeploymentRequest(spec=spec_to_pb(a_spec(cluster_id=2))), metadata=bob
        ),
    ):
        error = await refusal(call)
        assert (error.code(), from_rpc_error(error).reason) == NOT_FOUND
    shown = await service.GetDeployment(
        dpb.GetDeploymentRequest(deployment_id=deployment_id), metadata=bob
    )
    assert shown.deployment.id == deployment_id
    await service.DeleteDeployment(
        dpb.DeleteDeploymentRequest(deployment_id=deployment_id), metadata=bob
    )


async def test_the_status_sums_what_is_booked(scene: Scene) -> None:
    world = scene.world
    node_id = an_id("edge-1")
    await world.connect_node(node_id, "edge-1", a_fingerprint(cpu=16_000))
    first = (await scene.deploy("alice", replicas=2, cpu=1500, allow_colocation=True)).deployment
    await scene.deploy("alice", name="waits")
    await scene.deploy("carol", cluster_id=1)
    replicas = await world.scheduler.place(first.id, node_id, node_id)
    status = await scene.bob.GetClusterStatus(cluster_id=2)
    assert status.cluster.total == QUOTA
    assert status.used == resources_pb2.Resources(
        cpu_millicores=3000, memory_mib=1024, storage_gib=20
    )
    assert status.used_replicas == status.organization_used_replicas == 2
    assert dict(status.deployments) == {"scheduled": 1, "pending": 1}
    assert status.as_of_sequence == world.fold.position
    await world.scheduler.release(first.id, replicas[0])
    after = await scene.bob.GetClusterStatus(cluster_id=2)
    assert (after.used.cpu_millicores, after.used_replicas) == (1500, 1)
    everybodys = await scene.bob.GetClusterStatus(cluster_id=1)
    assert dict(everybodys.deployments) == {"pending": 1}
    assert not everybodys.cluster.HasField("total")


async def test_the_status_of_an_organization_sums_over_its_clusters(scene: Scene) -> None:
    world = scene.world
    await scene.alice.CreateCluster(name="other", organization_id=2)
    quota = resources_pb2.Quota(cpu_millicores=9000)
    await scene.admin.SetOrganizationQuota(organization_id=2, quota=quota)
    await world.connect_node(an_id("edge-1"), "edge-1")
    deployed = (await scene.deploy("alice", cluster_id=3)).deployment
    await world.scheduler.place(deployed.id, an_id("edge-1"))
    status = await scene.alice.GetClusterStatus(cluster_id=2)
    assert status.used_replicas == 0
    assert (status.organization_used.cpu_millicores, status.organization_quota) == (1000, quota)


async def test_strangers_see_no_status(scene: Scene) -> None:
    assert await scene.carol.refused("GetClusterStatus", cluster_id=2) == NOT_FOUND
    assert await scene.carol.refused("GetClusterStatus", cluster_id=9) == NOT_FOUND


async def test_the_events_name_the_cluster(scene: Scene) -> None:
    facts = scene.world.fold.fleet.facts
    made = await scene.world.fold.commit(facts.clusters[2].created_position >> 16)
    event = made.envelopes[0].event
    assert isinstance(event, ev.ClusterCreated)
    assert (event.name, event.quota.replicas) == ("edge", 5)
    assert made.envelopes[0].aggregate == f"cluster/{made.envelopes[0].event_id}"
