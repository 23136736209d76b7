"""Many deployments at once over loopback gRPC."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import deployment_service_pb2 as pb
from tests.support.fleet_log import a_spec
from tests.support.gateway import GatewayWorld, refusal, signed_in

ALICES = signed_in("alice")


def ask(request_id: str = "", replicas: int = 2, **more: Any) -> pb.CreateDeploymentRequest:
    spec = spec_to_pb(a_spec(replicas=replicas))
    return pb.CreateDeploymentRequest(request_id=request_id, spec=spec, **more)


async def test_a_batch_has_an_outcome_for_each(world: GatewayWorld) -> None:
    requests = [ask("a"), ask("a"), ask("a", replicas=3), ask("b", replicas=0), ask()]
    answer = await world.deployment_service.CreateDeployments(
        pb.CreateDeploymentsRequest(requests=requests), metadata=ALICES
    )

    first, repeat, clash, wrong, plain = answer.outcomes
    assert first.deployment_id == repeat.deployment_id
    assert clash.error_reason == "REQUEST_ID_REUSED"
    assert wrong.error_reason == "INVALID_ARGUMENT"
    assert "spec.replicas" in wrong.error_message
    assert wrong.request_id == "b"
    assert plain.sequence == first.sequence
    assert len(world.fold.fleet.facts.deployments) == 2


async def test_a_batch_of_large_ones_spans_commits(world: GatewayWorld) -> None:
    labels = {f"key-{number}": "x" * 256 for number in range(64)}
    large = [pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(labels=labels))) for _ in range(100)]
    answer = await world.deployment_service.CreateDeployments(
        pb.CreateDeploymentsRequest(requests=large), metadata=ALICES
    )

    assert len({outcome.deployment_id for outcome in answer.outcomes}) == 100
    assert await world.log.last_sequence() > 2


async def test_a_batch_has_bounds(world: GatewayWorld) -> None:
    requests = [ask()] * 1001
    error = await refusal(
        world.deployment_service.CreateDeployments(
            pb.CreateDeploymentsRequest(requests=requests), metadata=ALICES
        )
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be at most 1000, got 1001" in (error.details() or "")


async def test_a_stream_is_acknowledged_message_by_message_in_order(world: GatewayWorld) -> None:
    async def messages() -> AsyncIterator[pb.SubmitDeploymentsRequest]:
        for number in range(30):
            requests = [ask(f"{number}/{index}") for index in range(10)]
            yield pb.SubmitDeploymentsRequest(requests=requests)

    call = world.deployment_service.SubmitDeployments(messages(), metadata=ALICES)
    acknowledged = [[outcome.request_id for outcome in answer.outcomes] async for answer in call]

    assert acknowledged == [[f"{number}/{index}" for index in range(10)] for number in range(30)]
    assert len(world.fold.fleet.facts.deployments) == 300


async def test_a_bad_message_ends_a_stream_after_the_answers_before_it(
    world: GatewayWorld,
) -> None:
    call = world.deployment_service.SubmitDeployments(metadata=ALICES)
    await call.write(pb.SubmitDeploymentsRequest(requests=[ask()]))
    assert len((await call.read()).outcomes) == 1
    await call.write(pb.SubmitDeploymentsRequest(requests=[ask()] * 1001))

    error = await refusal(call.read())

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
