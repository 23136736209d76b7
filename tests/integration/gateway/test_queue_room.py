"""How many deployments may wait, of whom, and that what is refused leaves no environment."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fogbank.codec.values import spec_to_pb
from fogbank.domain import events as ev
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import deployment_service_pb2 as pb
from tests.integration.gateway.test_organizations import VIEWER, Caller
from tests.support.fleet_log import a_spec
from tests.support.gateway import GatewayWorld, gateway_world, refusal, signed_in

FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
SECRET = {"PASSWORD": "hunter2"}


def ask(cluster_id: int = 1, **more: Any) -> pb.CreateDeploymentRequest:
    return pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(cluster_id=cluster_id)), **more)


async def create(world: GatewayWorld, who: str = "alice", **more: Any) -> Any:
    call = world.deployment_service.CreateDeployment(ask(**more), metadata=signed_in(who))
    return (await call).deployment


async def create_many(world: GatewayWorld, who: str, *asks: pb.CreateDeploymentRequest) -> Any:
    batch = pb.CreateDeploymentsRequest(requests=asks)
    answer = await world.deployment_service.CreateDeployments(batch, metadata=signed_in(who))
    return [each.error_reason for each in answer.outcomes]


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    error = await refusal(call)
    return error.code(), from_rpc_error(error).reason


async def test_one_owner_fills_a_share_of_the_queue_and_others_find_room() -> None:
    async with gateway_world(max_pending=8, max_pending_share=0.25) as world:
        assert await create_many(world, "alice", *[ask()] * 3) == ["QUEUE_FULL"] * 3
        assert (
            await create_many(world, "alice", *[ask(request_id=f"{n}") for n in "ab"]) == [""] * 2
        )
        assert await refused(create(world)) == FULL
        (error,) = [await refusal(create(world))]
        assert "2 deployments of one owner may wait" in (error.details() or "")
        assert (
            await create_many(world, "alice", ask(request_id="a"), ask(request_id="b")) == [""] * 2
        )
        again = [ask(request_id="a"), ask(request_id="c"), ask(request_id="b")]
        assert await create_many(world, "alice", *again) == ["", "QUEUE_FULL", ""]
        for who in ("bob", "carol", "vera"):
            assert await create_many(world, who, ask(), ask()) == [""] * 2
        assert await refused(create(world, "otto")) == FULL


async def test_members_of_one_organization_fill_one_share() -> None:
    async with gateway_world(max_pending=8, max_pending_share=0.25) as world:
        alice, bob = Caller(world, "alice"), Caller(world, "bob")
        await alice.CreateOrganization(name="ours")
        await alice.CreateCluster(name="edge", organization_id=2)
        invite = (await alice.RenewInviteCode(organization_id=2)).invite
        await bob.JoinOrganization(invite_code=invite.code)
        await create(world, "alice", cluster_id=2)
        await create(world, "bob", cluster_id=2)
        error = await refusal(create(world, "bob", cluster_id=2))
        assert "2 deployments of one organization may wait" in (error.details() or "")
        assert (await create(world, "bob", cluster_id=1)).id, "everybody's cluster has no share"


async def test_who_is_refused_leaves_no_environment() -> None:
    async with gateway_world(max_pending=2) as world:
        alice, bob = Caller(world, "alice"), Caller(world, "bob")
        await alice.CreateOrganization(name="ours")
        await alice.CreateCluster(name="edge", organization_id=2)
        invite = (await alice.RenewInviteCode(organization_id=2, role=VIEWER)).invite
        await bob.JoinOrganization(invite_code=invite.code)
        made = await create(world)

        for cluster_id in (2, 9):
            assert (await refused(create(world, "bob", cluster_id=cluster_id, env=SECRET)))[1]
        told = await create_many(
            world, "bob", ask(2, env=SECRET), ask(9, env=SECRET), ask(env={"A": "fits"})
        )
        assert told == ["ROLE_LACKING", "CLUSTER_NOT_FOUND", ""]
        assert await refused(create(world, env=SECRET)) == FULL
        assert await create_many(world, "alice", ask(env=SECRET)) == ["QUEUE_FULL"]
        change = pb.UpdateDeploymentRequest(deployment_id=made.id, env=SECRET)
        change.update_mask.paths.append("env")
        service = world.deployment_service
        for who, etag in (("bob", ""), ("alice", "1")):
            change.etag = etag
            call = service.UpdateDeployment(change, metadata=signed_in(who))
            assert (await refused(call))[0] in {
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.ABORTED,
            }
        assert list(world.environments.kept.values()) == [{"A": "fits"}]

        change.etag = made.etag
        await service.UpdateDeployment(change, metadata=signed_in("alice"))
        assert SECRET in world.environments.kept.values()


async def test_what_was_given_up_takes_room_again_when_it_is_to_be_placed_anew() -> None:
    async with gateway_world(max_pending=8, max_pending_share=0.25) as world:
        service, alice = world.deployment_service, signed_in("alice")
        made = []
        for _ in range(3):
            known = await create(world)
            version = world.fold.fleet.facts.deployments[known.id].version
            await world.scheduler.decide(ev.DeploymentFailed(known.id, version, "Too large", 0))
            made.append(known.id)
        scale = pb.ScaleDeploymentRequest(deployment_id=made[0], replicas=2)
        await service.ScaleDeployment(scale, metadata=alice)
        update = pb.UpdateDeploymentRequest(deployment_id=made[1], spec=spec_to_pb(a_spec(cpu=9)))
        update.update_mask.paths.append("resources.cpu_millicores")
        await service.UpdateDeployment(update, metadata=alice)

        scale.deployment_id = update.deployment_id = made[2]
        assert await refused(service.ScaleDeployment(scale, metadata=alice)) == FULL
        assert await refused(service.UpdateDeployment(update, metadata=alice)) == FULL
        scale.deployment_id, scale.replicas = made[0], 3  # it waits already
        await service.ScaleDeployment(scale, metadata=alice)
        await service.DeleteDeployment(
            pb.DeleteDeploymentRequest(deployment_id=made[2]), metadata=alice
        )


@pytest.mark.parametrize("batch", [False, True])
async def test_without_a_place_for_environments_only_those_without_are_accepted(
    batch: bool,
) -> None:
    async with gateway_world() as world:
        world.environments.up = False
        if batch:
            told = await create_many(world, "alice", ask(env=SECRET), ask())
            assert told == ["UNAVAILABLE", ""]
        else:
            assert (await refused(create(world, env=SECRET)))[0] is grpc.StatusCode.UNAVAILABLE
            assert (await create(world)).id
        assert len(world.fold.fleet.facts.deployments) == 1
