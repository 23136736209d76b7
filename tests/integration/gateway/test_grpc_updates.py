"""UpdateDeployment, GetRollout and RollbackDeployment."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fogbank.codec.values import spec_to_pb
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployments_pb2, resources_pb2
from tests.support.fleet_log import a_spec
from tests.support.gateway import GatewayWorld, gateway_world, refusal, signed_in

ALICES, BOBS = signed_in("alice"), signed_in("bob")


async def create(world: GatewayWorld, **env: str) -> deployments_pb2.Deployment:
    request = pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(replicas=2)), env=env)
    answer = await world.deployment_service.CreateDeployment(request, metadata=ALICES)
    made: deployments_pb2.Deployment = answer.deployment
    return made


def change(deployment_id: str, *paths: str, **more: Any) -> pb.UpdateDeploymentRequest:
    request = pb.UpdateDeploymentRequest(deployment_id=deployment_id, **more)
    request.update_mask.paths.extend(paths)
    return request


async def update(world: GatewayWorld, request: pb.UpdateDeploymentRequest) -> Any:
    answer = await world.deployment_service.UpdateDeployment(request, metadata=ALICES)
    return answer.deployment


async def rollout(world: GatewayWorld, deployment_id: str) -> pb.GetRolloutResponse:
    answer: pb.GetRolloutResponse = await world.deployment_service.GetRollout(
        pb.GetRolloutRequest(deployment_id=deployment_id), metadata=ALICES
    )
    return answer


async def test_only_the_fields_of_the_mask_change() -> None:
    async with gateway_world() as world:
        made = await create(world)
        spec = deployments_pb2.DeploymentSpec(
            name="ignored",
            container_image="nginx:1.27",
            resources=resources_pb2.Resources(memory_mib=1024),
        )
        mask = ("container_image", "resources.memory_mib", "labels")
        changed = await update(world, change(made.id, *mask, spec=spec))
        assert changed.spec.container_image == "nginx:1.27"
        assert changed.spec.name == made.spec.name
        assert changed.spec.resources.memory_mib == 1024
        assert changed.spec.resources.cpu_millicores == made.spec.resources.cpu_millicores
        assert changed.etag != made.etag
        found = await rollout(world, made.id)
        assert found.revision == 2
        assert [each.number for each in found.revisions] == [2, 1]
        assert found.phase == pb.ROLLOUT_PHASE_PROGRESSING


async def test_a_stale_etag_is_refused_and_without_one_it_comes_after() -> None:
    async with gateway_world() as world:
        made = await create(world)
        spec = deployments_pb2.DeploymentSpec(container_image="nginx:1.27")
        first = change(made.id, "container_image", spec=spec, etag=made.etag, request_id="a")
        changed = await update(world, first)
        assert (await update(world, first)).etag == changed.etag, "a repeat changes nothing"
        stale = change(made.id, "container_image", spec=spec, etag=made.etag)
        error = await refusal(world.deployment_service.UpdateDeployment(stale, metadata=ALICES))
        assert error.code() is grpc.StatusCode.ABORTED
        more = deployments_pb2.DeploymentSpec(priority=70)
        again = await update(world, change(made.id, "priority", spec=more))
        assert again.spec.priority == 70
        assert (await rollout(world, made.id)).revision == 2, "a priority replaces no replica"


@pytest.mark.parametrize(
    ("paths", "spec", "wrong"),
    [
        (["cluster_id"], {}, "cluster_id: must be between 1"),
        (["nothing"], {}, "is no field"),
        ([], {}, "update_mask"),
        (["container_image"], {"container_image": ""}, "container_image"),
        (["replicas"], {"replicas": 0}, "replicas"),
        (
            ["rollout"],
            {"rollout": deployments_pb2.RolloutSpec(max_surge=0, max_unavailable=0)},
            "max_surge",
        ),
    ],
)
async def test_what_makes_no_sense_is_named(
    paths: list[str], spec: dict[str, Any], wrong: str
) -> None:
    async with gateway_world() as world:
        made = await create(world)
        request = change(made.id, *paths, spec=deployments_pb2.DeploymentSpec(**spec))
        error = await refusal(world.deployment_service.UpdateDeployment(request, metadata=ALICES))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert wrong in str(error.details())


async def test_nobody_else_may_update_see_or_undo() -> None:
    async with gateway_world() as world:
        made = await create(world)
        service = world.deployment_service
        spec = deployments_pb2.DeploymentSpec(container_image="x")
        for call in (
            service.UpdateDeployment(change(made.id, spec=spec), metadata=BOBS),
            service.GetRollout(pb.GetRolloutRequest(deployment_id=made.id), metadata=BOBS),
            service.RollbackDeployment(
                pb.RollbackDeploymentRequest(deployment_id=made.id), metadata=BOBS
            ),
        ):
            assert (await refusal(call)).code() is grpc.StatusCode.NOT_FOUND


async def test_undo_brings_image_and_environment_back_as_an_update() -> None:
    async with gateway_world() as world:
        made = await create(world, MODE="one")
        service = world.deployment_service
        request = pb.RollbackDeploymentRequest(deployment_id=made.id)
        error = await refusal(service.RollbackDeployment(request, metadata=ALICES))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert from_rpc_error(error).reason == "ONLY_REVISION"
        spec = deployments_pb2.DeploymentSpec(container_image="nginx:1.27")
        mask = ("container_image", "env")
        await update(world, change(made.id, *mask, spec=spec, env={"MODE": "two"}))
        facts = world.fold.fleet.facts.deployments[made.id]
        assert "two" in facts.env_key
        answer = await service.RollbackDeployment(request, metadata=ALICES)
        assert answer.deployment.spec.container_image == made.spec.container_image
        assert "one" in facts.env_key
        assert facts.revision == 3
        await service.RollbackDeployment(request, metadata=ALICES)
        assert facts.spec.container_image == "nginx:1.27", "2: 1 is like the present one"
        wrong = pb.RollbackDeploymentRequest(deployment_id=made.id, to_revision=9)
        error = await refusal(service.RollbackDeployment(wrong, metadata=ALICES))
        assert "must be one of 1, 2, 3, got 9" in str(error.details())


async def test_variables_are_named_to_who_asks_and_their_values_are_not() -> None:
    async with gateway_world() as world:
        made = await create(world, TOKEN="hush", PATH="quiet")
        mask = change(made.id, "env", env={"TOKEN": "whisper"})
        await update(world, mask)
        asked = pb.GetRolloutRequest(deployment_id=made.id, with_env_names=True)
        told = await world.deployment_service.GetRollout(asked, metadata=ALICES)
        assert [list(each.env_names) for each in told.revisions] == [["TOKEN"], ["PATH", "TOKEN"]]
        assert not any(value in str(told) for value in ("hush", "quiet", "whisper"))
        unasked = await rollout(world, made.id)
        assert [list(each.env_names) for each in unasked.revisions] == [[], []]
        world.environments.up = False
        away = await world.deployment_service.GetRollout(asked, metadata=ALICES)
        assert [(each.has_env, list(each.env_names)) for each in away.revisions] == [(True, [])] * 2
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await world.deployment_service.GetRollout(asked, metadata=BOBS)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
