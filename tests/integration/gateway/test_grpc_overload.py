"""Over gRPC as over REST: what fits is accepted, the rest refused at once, with a hint."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from fogbank.codec.values import spec_to_pb
from fogbank.log.memory import MemoryStore
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import deployment_service_pb2 as pb
from tests.support.fleet_log import a_spec
from tests.support.gateway import GatewayWorld, gateway_world, memory_logs, refusal, signed_in
from tests.support.rest_face import FakeScheduler
from tests.support.waiting import eventually

ALICES = signed_in("alice")
ASKED = 40
MOST = 10


def request(number: int) -> pb.CreateDeploymentRequest:
    return pb.CreateDeploymentRequest(
        request_id=f"app-{number}", spec=spec_to_pb(a_spec(f"app-{number}", replicas=1))
    )


async def create(world: GatewayWorld, number: int) -> tuple[grpc.StatusCode, str]:
    """Ask for one; return what became of it, with a hint if it was refused."""
    call = world.deployment_service.CreateDeployment(request(number), metadata=ALICES)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        told = from_rpc_error(error)
        assert told.retry_after_ms, "when to come again"
        return error.code(), told.reason
    return grpc.StatusCode.OK, ""


def names(world: GatewayWorld) -> Counter[str]:
    return Counter(each.spec.name for each in world.fold.fleet.facts.deployments.values())


async def test_while_the_log_is_down_all_are_refused_and_nobody_is_in_it_twice() -> None:
    store = MemoryStore()
    async with gateway_world(memory_logs(store)) as world:
        store.available = False
        answers = await asyncio.gather(*(create(world, number) for number in range(ASKED)))
        assert set(answers) == {(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE")}
        batch = pb.CreateDeploymentsRequest(requests=[request(number) for number in range(3)])
        told = await world.deployment_service.CreateDeployments(batch, metadata=ALICES)
        assert {each.error_reason for each in told.outcomes} == {"LOG_UNAVAILABLE"}

        store.available = True
        store.wake()

        async def accepted_again() -> bool:
            return (await create(world, 0))[0] is grpc.StatusCode.OK

        await eventually(accepted_again, what="the log to be written again")
        answers = await asyncio.gather(*(create(world, number) for number in range(ASKED)))
        assert {code for code, _ in answers} == {grpc.StatusCode.OK}
        assert names(world) == Counter({f"app-{number}": 1 for number in range(ASKED)})


async def test_while_nobody_decides_no_more_wait_than_may_one_by_one_or_in_a_stream() -> None:
    async with gateway_world(max_pending=MOST) as world:
        answers = Counter(await asyncio.gather(*(create(world, number) for number in range(ASKED))))
        assert answers == {
            (grpc.StatusCode.OK, ""): MOST,
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"): ASKED - MOST,
        }

        async def asks() -> AsyncIterator[pb.SubmitDeploymentsRequest]:
            for number in range(ASKED, 2 * ASKED):
                yield pb.SubmitDeploymentsRequest(requests=[request(number)])

        stream: Any = world.deployment_service.SubmitDeployments(asks(), metadata=ALICES)
        outcomes = [each.error_reason async for told in stream for each in told.outcomes]
        assert outcomes == ["QUEUE_FULL"] * ASKED, "an answer to each, and none is lost"
        assert sum(names(world).values()) == world.fold.pending == MOST


async def test_without_a_scheduler_questions_to_it_are_refused_and_deployments_wait() -> None:
    nothing: Any = None
    planner = FakeScheduler(nothing)
    planner.up = False
    async with gateway_world(planner=planner) as world:
        assert await create(world, 1) == (grpc.StatusCode.OK, "")
        plan = pb.PlanDeploymentRequest(spec=spec_to_pb(a_spec()))
        calls = [
            world.deployment_service.PlanDeployment(plan, metadata=ALICES) for _ in range(ASKED)
        ]
        errors = await asyncio.gather(*map(refusal, calls))
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
        assert all(from_rpc_error(error).retry_after_ms for error in errors)
