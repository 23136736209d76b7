"""DeploymentService over loopback gRPC, the log in memory and rounds written by hand."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fogbank.codec.values import spec_to_pb
from fogbank.log.memory import MemoryStore
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployments_pb2
from services.gateway.core.bounds import LARGEST_OFFSET
from services.gateway.grpc_api import deployment_service
from services.gateway.grpc_api.paging import page_token
from tests.support.fleet_log import a_spec, an_id
from tests.support.gateway import GatewayWorld, gateway_world, memory_logs, refusal, signed_in
from tests.support.named_users import ALICE
from tests.support.waiting import eventually

ALICES, BOBS, ADMINS = signed_in("alice"), signed_in("bob"), signed_in("admin")
DeploymentStatus = deployments_pb2.DeploymentStatus


def ask(request_id: str = "", replicas: int = 2, **more: Any) -> pb.CreateDeploymentRequest:
    spec = spec_to_pb(a_spec(replicas=replicas))
    return pb.CreateDeploymentRequest(request_id=request_id, spec=spec, **more)


async def create(world: GatewayWorld, *, metadata: Any = ALICES, **more: Any) -> Any:
    answer = await world.deployment_service.CreateDeployment(ask(**more), metadata=metadata)
    return answer.deployment


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "fogbank"
    reason: str = info.reason
    return reason


# --- create -----------------------------------------------------------------------------------


async def test_a_deployment_is_accepted_pending_and_durable(world: GatewayWorld) -> None:
    deployment = await create(world)

    assert deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_PENDING
    assert deployment.owner_id == ALICE.user_id
    assert deployment.etag == "2"
    assert len(deployment.replicas) == 2
    (change,) = deployment.recent_status_changes
    assert change.reason == "Deployment created by user"
    assert await world.log.last_sequence() == 2


@pytest.mark.parametrize(
    ("caller", "asked", "told"),
    [(ALICES, True, "alice"), (ADMINS, True, "alice"), (ALICES, False, "")],
)
async def test_the_owners_name_is_told_to_the_owner_and_to_administrators(
    world: GatewayWorld, caller: Any, asked: bool, told: str
) -> None:
    request = pb.GetDeploymentRequest(deployment_id=(await create(world)).id, with_owner_name=asked)
    answer = await world.deployment_service.GetDeployment(request, metadata=caller)
    assert (answer.deployment.owner_id, answer.owner_name) == (ALICE.user_id, told)


async def test_a_repeat_gets_the_first_answer_and_writes_nothing(world: GatewayWorld) -> None:
    first = await create(world, request_id="r-1", env={"A": "b"})
    again = await create(world, request_id="r-1", env={"A": "b"})

    assert (again.id, again.etag) == (first.id, first.etag)
    assert await world.log.last_sequence() == 2


async def test_repeats_that_race_at_two_gateways_are_one_deployment(world: GatewayWorld) -> None:
    async with gateway_world(world.log_of, instance="two") as other:
        answers = await asyncio.gather(
            *(create(where, request_id="r-1") for where in (world, other) for _ in range(5))
        )

    assert len({answer.id for answer in answers}) == 1
    assert len({answer.etag for answer in answers}) == 1
    assert len(world.fold.fleet.facts.deployments) == 1


@pytest.mark.parametrize("change", [{"replicas": 3}, {"env": {"A": "other"}}])
async def test_a_request_id_with_another_content_is_refused(
    world: GatewayWorld, change: dict[str, Any]
) -> None:
    await create(world, request_id="r-1", env={"A": "b"})

    error = await refusal(create(world, **{"request_id": "r-1", "env": {"A": "b"}} | change))

    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(error) == "REQUEST_ID_REUSED"


async def test_the_same_request_id_of_two_users_are_two_requests(world: GatewayWorld) -> None:
    mine = await create(world, request_id="r-1")
    theirs = await create(world, request_id="r-1", metadata=BOBS)

    assert mine.id != theirs.id


async def test_wrong_fields_are_named(world: GatewayWorld) -> None:
    request = pb.CreateDeploymentRequest(
        spec=deployments_pb2.DeploymentSpec(name="x" * 10_000, replicas=-1)
    )
    error = await refusal(world.deployment_service.CreateDeployment(request, metadata=ALICES))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "spec.name: must be 1 to 100 characters, got 10000" in (error.details() or "")
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    fields = {violation.field for violation in bad.field_violations}
    assert fields >= {"spec.name", "spec.type", "spec.replicas", "spec.resources.cpu_millicores"}
    assert await world.log.last_sequence() == 1


@pytest.mark.parametrize(
    "request_",
    [
        ask(wait_for=99),
        ask(request_id="x" * 129),
        ask(env={"": "x"}),
        pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(strategy="magic"))),
        pb.CreateDeploymentRequest(
            spec=deployments_pb2.DeploymentSpec(
                constraints=[deployments_pb2.Constraint(attribute="region")]
            )
        ),
        pb.CreateDeploymentRequest(
            spec=deployments_pb2.DeploymentSpec(restart=99)  # type: ignore[arg-type]
        ),
    ],
)
async def test_other_wrong_requests_are_refused(
    world: GatewayWorld, request_: pb.CreateDeploymentRequest
) -> None:
    error = await refusal(world.deployment_service.CreateDeployment(request_, metadata=ALICES))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_validate_only_writes_nothing(world: GatewayWorld) -> None:
    deployment = await create(world, validate_only=True)

    assert deployment.id == ""
    assert deployment.spec.region == "us-east"
    assert await world.log.last_sequence() == 1


async def test_nobody_is_served_without_a_token(world: GatewayWorld) -> None:
    for metadata in ((), signed_in("nobody"), (("authorization", "Basic alice"),)):
        error = await refusal(create(world, metadata=metadata))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error.details() == "Not authenticated"


async def test_a_full_queue_takes_no_more() -> None:
    async with gateway_world(max_pending=2) as world:
        await create(world)
        await create(world, request_id="r")

        error = await refusal(create(world))

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(error) == "QUEUE_FULL"
        assert (await create(world, request_id="r")).etag  # a repeat takes no room


async def test_nothing_is_acknowledged_while_the_log_is_down() -> None:
    store = MemoryStore()
    async with gateway_world(memory_logs(store)) as world:
        store.lose_appends = 1
        error = await refusal(create(world))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "with the same request id" in (error.details() or "")

        # The same bytes are appended again, though nobody waits for them any more.
        await eventually(lambda: len(store.commits) == 2)


async def test_a_lost_answer_is_found_by_a_repeat() -> None:
    store = MemoryStore()
    async with gateway_world(memory_logs(store)) as world:
        store.lose_acks = 1
        error = await refusal(create(world, request_id="r-1"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE

        again = await create(world, request_id="r-1")

        assert len(world.fold.fleet.facts.deployments) == 1
        assert again.id in world.fold.fleet.facts.deployments


# --- waiting ----------------------------------------------------------------------------------


async def test_a_create_can_wait_until_it_is_scheduled(world: GatewayWorld) -> None:
    waiting = asyncio.ensure_future(create(world, wait_for=pb.WAIT_FOR_SCHEDULED))
    (deployment_id,) = await eventually(lambda: list(world.fold.fleet.facts.deployments))
    await world.scheduler.place(deployment_id, an_id("node-1"), an_id("node-2"))

    deployment = await waiting

    assert deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_SCHEDULED


async def test_a_wait_ends_before_the_deadline_with_what_there_is(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The way back may be as slow as a machine that has much else to do makes it.
    monkeypatch.setattr(deployment_service, "_ANSWER_MARGIN_S", 59.5)
    answer = await world.deployment_service.CreateDeployment(
        ask(wait_for=pb.WAIT_FOR_RUNNING), metadata=ALICES, timeout=60
    )

    assert answer.deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_PENDING


async def test_what_was_told_is_not_untold(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger may lag: it is asked for no less than this gateway has told already."""
    asked: list[int] = []
    answer = world.ledger.deployment

    async def spy(deployment_id: str, owner_id: str = "", min_sequence: int = 0) -> Any:
        asked.append(min_sequence)
        return await answer(deployment_id, owner_id, min_sequence)

    monkeypatch.setattr(world.ledger, "deployment", spy)
    deployment = await create(world)
    request = pb.GetDeploymentRequest(deployment_id=deployment.id)
    await world.deployment_service.GetDeployment(request, metadata=ALICES)
    await world.scheduler.place(deployment.id, an_id("node-1"), an_id("node-2"))
    await world.deployment_service.GetDeployment(request, metadata=ALICES)

    assert asked == [2, 3]


# --- others' deployments ----------------------------------------------------------------------


async def test_foreign_deployments_are_not_found(world: GatewayWorld) -> None:
    deployment = await create(world)
    service = world.deployment_service

    for found in (
        service.GetDeployment(pb.GetDeploymentRequest(deployment_id=deployment.id), metadata=BOBS),
        service.ScaleDeployment(
            pb.ScaleDeploymentRequest(deployment_id=deployment.id, replicas=1), metadata=BOBS
        ),
        service.DeleteDeployment(
            pb.DeleteDeploymentRequest(deployment_id=deployment.id), metadata=BOBS
        ),
        service.GetDeployment(
            pb.GetDeploymentRequest(deployment_id=an_id("nothing")), metadata=ALICES
        ),
        service.GetDeployment(pb.GetDeploymentRequest(deployment_id="x"), metadata=ALICES),
    ):
        error = await refusal(found)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "Deployment not found"
    assert await world.log.last_sequence() == 2


async def test_administrators_touch_everybodys(world: GatewayWorld) -> None:
    deployment = await create(world)

    answer = await world.deployment_service.ScaleDeployment(
        pb.ScaleDeploymentRequest(deployment_id=deployment.id, replicas=1), metadata=ADMINS
    )

    assert answer.deployment.spec.replicas == 1


async def test_lists_show_ones_own_and_page(world: GatewayWorld) -> None:
    for _ in range(5):
        await create(world)
    await create(world, metadata=BOBS)
    service, tokens, ids = world.deployment_service, [""], []
    while True:
        page = await service.ListDeployments(
            pb.ListDeploymentsRequest(page_size=2, page_token=tokens[-1]), metadata=ALICES
        )
        ids += [deployment.id for deployment in page.deployments]
        if not page.next_page_token:
            break
        tokens.append(page.next_page_token)

    assert page.total_size == 5
    assert len(set(ids)) == 5
    everybodys = await service.ListDeployments(
        pb.ListDeploymentsRequest(all_owners=True), metadata=ADMINS
    )
    assert everybodys.total_size == 6
    error = await refusal(
        service.ListDeployments(pb.ListDeploymentsRequest(all_owners=True), metadata=ALICES)
    )
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    error = await refusal(
        service.ListDeployments(
            pb.ListDeploymentsRequest(page_token=tokens[1], name_contains="x"), metadata=ALICES
        )
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("offset", [LARGEST_OFFSET + 1, 2**63, 2**64 - 1])
async def test_a_page_token_that_no_answer_had_is_refused(world: GatewayWorld, offset: int) -> None:
    forged = page_token(offset, pb.ListDeploymentsRequest().SerializeToString())
    request = pb.ListDeploymentsRequest(page_token=forged)
    error = await refusal(world.deployment_service.ListDeployments(request, metadata=ALICES))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "page_token: must be the next_page_token" in (error.details() or "")


# --- scale and delete -------------------------------------------------------------------------


async def scale(world: GatewayWorld, deployment_id: str, replicas: int, **more: Any) -> Any:
    request = pb.ScaleDeploymentRequest(deployment_id=deployment_id, replicas=replicas, **more)
    return (await world.deployment_service.ScaleDeployment(request, metadata=ALICES)).deployment


async def delete(world: GatewayWorld, deployment_id: str, **more: Any) -> Any:
    request = pb.DeleteDeploymentRequest(deployment_id=deployment_id, **more)
    return (await world.deployment_service.DeleteDeployment(request, metadata=ALICES)).deployment


async def test_a_deployment_is_scaled_and_deleted(world: GatewayWorld) -> None:
    deployment = await create(world)

    scaled = await scale(world, deployment.id, 5, etag=deployment.etag)
    assert (scaled.spec.replicas, scaled.etag) == (5, "3")

    deleted = await delete(world, deployment.id, etag=scaled.etag)
    assert deleted.status == DeploymentStatus.DEPLOYMENT_STATUS_DELETED
    assert deleted.HasField("deleted_at")
    found = await world.deployment_service.GetDeployment(
        pb.GetDeploymentRequest(deployment_id=deployment.id), metadata=ALICES
    )
    assert found.deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_DELETED


async def test_a_stale_etag_is_refused(world: GatewayWorld) -> None:
    deployment = await create(world)
    await scale(world, deployment.id, 5)

    for call in (
        scale(world, deployment.id, 6, etag=deployment.etag),
        delete(world, deployment.id, etag=deployment.etag),
        scale(world, deployment.id, 6, etag="999"),
    ):
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.ABORTED
        assert reason_of(error) == "STALE_ETAG"
    error = await refusal(scale(world, deployment.id, 6, etag="nonsense"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_repeats_of_scale_and_delete_get_the_first_answer(world: GatewayWorld) -> None:
    deployment = await create(world)
    await scale(world, deployment.id, 5, request_id="s")
    await scale(world, deployment.id, 5, request_id="s")
    await delete(world, deployment.id, request_id="d")
    await delete(world, deployment.id, request_id="d")

    assert await world.log.last_sequence() == 4
    error = await refusal(scale(world, deployment.id, 6, request_id="s"))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_what_is_deleted_takes_no_commands(world: GatewayWorld) -> None:
    deployment = await create(world)
    await delete(world, deployment.id)

    error = await refusal(scale(world, deployment.id, 1))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    error = await refusal(delete(world, deployment.id))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert await world.log.last_sequence() == 3


@pytest.mark.parametrize("replicas", [0, -1, 1001])
async def test_scaling_has_bounds(world: GatewayWorld, replicas: int) -> None:
    deployment = await create(world)

    error = await refusal(scale(world, deployment.id, replicas))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"replicas: must be between 1 and 1000, got {replicas}" in (error.details() or "")


async def test_validate_only_changes_nothing(world: GatewayWorld) -> None:
    deployment = await create(world)
    await scale(world, deployment.id, 5, validate_only=True)
    await delete(world, deployment.id, validate_only=True)

    assert await world.log.last_sequence() == 2


async def test_what_another_gateway_accepted_can_be_changed_at_once(world: GatewayWorld) -> None:
    async with gateway_world(world.log_of, instance="two") as other:
        for _ in range(10):
            deployment = await create(world)
            assert (await scale(other, deployment.id, 1)).spec.replicas == 1
