"""Plans and explanations all the way: a gateway's faces, a scheduler's server, one log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.codec import encode_commit, encode_envelope
from fogbank.codec.values import spec_to_pb
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.states import Health, ReplicaState
from fogbank.log.memory import MemoryStore
from fogbank.log.port import Writer
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import deployment_service_pb2 as pb
from services.gateway.adapters.scheduler_client import SchedulerClient
from services.gateway.app.genesis import ensure_genesis
from services.scheduler import grpc_api
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.gateway import GatewayWorld, gateway_world, memory_logs, refusal, signed_in
from tests.support.rest_face import deploy_body, rest_face
from tests.support.schedulers import running_scheduler
from tests.support.waiting import eventually

# Nobody beats here, and nobody is to be called silent however long a test takes.
PATIENT = Policy(heartbeat_period_ms=600_000)
ALICES, BOBS = signed_in("alice"), signed_in("bob")


@dataclass
class Whole:
    """A gateway and a scheduler, talking."""

    world: GatewayWorld
    server: GrpcServer

    async def add_nodes(self, *names: str) -> None:
        """Let nodes shake hands."""
        now_us = SystemClock().now_us()
        envelopes = [
            EventEnvelope(
                an_id(f"{name} connects"),
                ev.NodeConnected(an_id(name), name, a_fingerprint()),
                aggregate=f"node/{name}",
                actor=f"node/{name}",
                occurred_at_us=now_us,
            )
            for name in names
        ]
        data = encode_commit(now_us, [encode_envelope(each) for each in envelopes])
        await self.world.fold.reached(await self.world.log.append(data))

    async def obey(self) -> None:
        """Let every node report that what it is to run runs, and that what it is to stop ended."""
        fleet, now_us = self.world.fold.fleet, SystemClock().now_us()
        envelopes = []
        for node in fleet.facts.nodes.values():
            seen = []
            for placed in fleet.on_node(node.id):
                gone = placed.desired == "released"
                state = ReplicaState.STOPPED if gone else ReplicaState.RUNNING
                if gone or fleet.replica_state(placed) is ReplicaState.ASSIGNED:
                    seen.append(
                        ReplicaObservation(
                            placed.id, 0, state, "c", now_us, Health.UNKNOWN, gone, 0, "", now_us
                        )
                    )
            if seen:
                number = node.last_report + 1
                event = ev.NodeReported(node.id, node.epoch, number, tuple(seen))
                name = an_id(f"report {number} of {node.id}")
                envelopes.append(EventEnvelope(name, event, "node/1", "node/1", now_us))
        if envelopes:
            data = encode_commit(now_us, [encode_envelope(each) for each in envelopes])
            await self.world.fold.reached(await self.world.log.append(data))

    async def plan(self, **spec: Any) -> pb.PlanDeploymentResponse:
        request = pb.PlanDeploymentRequest(spec=spec_to_pb(a_spec(**spec)))
        answer: pb.PlanDeploymentResponse = await self.world.deployment_service.PlanDeployment(
            request, metadata=ALICES, timeout=20
        )
        return answer

    async def create(self, *, user: Any = ALICES, **spec: Any) -> str:
        request = pb.CreateDeploymentRequest(spec=spec_to_pb(a_spec(**spec)))
        answer = await self.world.deployment_service.CreateDeployment(request, metadata=user)
        return str(answer.deployment.id)

    async def explain(self, deployment_id: str) -> pb.ExplainDeploymentResponse:
        answer: pb.ExplainDeploymentResponse = (
            await self.world.deployment_service.ExplainDeployment(
                pb.ExplainDeploymentRequest(deployment_id=deployment_id),
                metadata=ALICES,
                timeout=20,
            )
        )
        return answer


@pytest.fixture
async def whole() -> AsyncIterator[Whole]:
    log_of = memory_logs(MemoryStore())
    log = log_of(Writer("gateway", "genesis"))
    await ensure_genesis(log, SystemClock(), "default", PATIENT)
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(
            running_scheduler(log_of(Writer("scheduler", "one")))
        )
        server = GrpcServer([grpc_api.SERVICE_NAME])
        grpc_api.add_to_server(scheduler, server.grpc)
        port = await server.start("127.0.0.1:0")
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        world = await stack.enter_async_context(
            gateway_world(log_of, planner=SchedulerClient(channel))
        )
        yield Whole(world, server)


async def test_before_any_node_the_plan_says_so(whole: Whole) -> None:
    plan = await whole.plan()
    assert not plan.placeable
    assert plan.error == "No available nodes"
    assert list(plan.explanation.would_unblock) == ["a node that joins; none is known yet"]


async def test_a_plan_changes_nothing_and_comes_true(whole: Whole) -> None:
    await whole.add_nodes("fog-0", "fog-1", "fog-2")
    before = whole.world.fold.position
    plan = await whole.plan(replicas=2)
    assert plan.placeable
    assert plan.as_of_sequence >= before
    assert [round(sum(each.terms.values()) * 1000) for each in plan.scheduled] == [
        each.score for each in plan.scheduled
    ]
    refused = await whole.plan(replicas=4)
    assert refused.error == "Insufficient nodes: need 4, found 3 with capacity"
    assert refused.available_nodes == 3
    assert whole.world.fold.position == before, "nothing was written"
    deployment_id = await whole.create(replicas=2)
    fleet = whole.world.fold.fleet
    await eventually(lambda: len(fleet.decisions.of(deployment_id).slots) == 2)
    slots = fleet.decisions.of(deployment_id).slots
    nodes = [fleet.decisions.placements[slots[slot]].node_id for slot in sorted(slots)]
    assert nodes == [each.node_id for each in plan.scheduled]
    told = await whole.explain(deployment_id)
    assert told.summary.startswith("All 2 replicas have a node: ")
    assert told.decided_at_sequence > 0
    assert told.explanation.nodes_considered == 3
    assert [each.score for each in told.explanation.best][:2] == [
        each.score for each in plan.scheduled
    ]


async def test_what_was_just_accepted_is_explained_at_once(whole: Whole) -> None:
    for number in range(5):
        told = await whole.explain(await whole.create(name=f"web-{number}"))
        assert told.summary
        assert told.explanation.would_unblock


async def test_a_plan_names_whose_replicas_would_give_way_as_far_as_the_caller_may_know(
    whole: Whole,
) -> None:
    await whole.add_nodes("fog-0", "fog-1")
    own = await whole.create(name="own", priority=10, cpu=3000)
    others = await whole.create(name="others", priority=10, cpu=3000, user=BOBS)
    fleet = whole.world.fold.fleet
    await eventually(
        lambda: fleet.decisions.of(own).placed_once and fleet.decisions.of(others).placed_once
    )
    await whole.obey()
    plan = await whole.plan(name="urgent", priority=80, cpu=3000, replicas=2)
    assert plan.placeable
    assert {each.deployment_id: each.deployment_name for each in plan.preempted} == {
        own: "own",
        others: "",
    }
    assert sorted(plan.preempted_replica_ids) == sorted(
        fleet.decisions.of(known).slots[0] for known in (own, others)
    )
    one = await whole.plan(name="urgent", priority=80, cpu=3000)
    assert len(one.preempted) == 1
    assert not (await whole.plan(name="modest", priority=80, cpu=500)).preempted


async def test_another_tenants_deployment_is_not_found(whole: Whole) -> None:
    deployment_id = await whole.create()
    service = whole.world.deployment_service
    request = pb.ExplainDeploymentRequest(deployment_id=deployment_id)
    assert (await refusal(service.ExplainDeployment(request, metadata=BOBS))).code() is (
        grpc.StatusCode.NOT_FOUND
    )
    for nobodys in ("", "x", "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"):
        request = pb.ExplainDeploymentRequest(deployment_id=nobodys)
        error = await refusal(service.ExplainDeployment(request, metadata=ALICES))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_plan_is_checked_like_a_deployment(whole: Whole) -> None:
    service = whole.world.deployment_service
    for spec, code in (
        (spec_to_pb(a_spec(replicas=0)), grpc.StatusCode.INVALID_ARGUMENT),
        (spec_to_pb(a_spec(cluster_id=77)), grpc.StatusCode.NOT_FOUND),
    ):
        request = pb.PlanDeploymentRequest(spec=spec)
        error = await refusal(service.PlanDeployment(request, metadata=ALICES))
        assert error.code() is code


async def test_without_a_scheduler_it_says_to_try_again(whole: Whole) -> None:
    deployment_id = await whole.create()
    await whole.server.stop(0)
    service = whole.world.deployment_service
    for call in (
        service.PlanDeployment(
            pb.PlanDeploymentRequest(spec=spec_to_pb(a_spec())), metadata=ALICES
        ),
        service.ExplainDeployment(
            pb.ExplainDeploymentRequest(deployment_id=deployment_id), metadata=ALICES
        ),
    ):
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "the scheduler does not answer; try again later" in str(error.details())


async def test_over_http() -> None:
    async with rest_face() as face, face.client() as client:
        await face.add_nodes("a", "b")
        answer = await client.post("/api/deployment/plan", json=deploy_body(replicas=2))
        assert answer.status_code == 200
        content = answer.json()
        assert content["success"] is True
        assert [each["node"] for each in content["scheduled"]] == ["a", "b"]
        assert content["preempted"] == []
        assert len(content["scheduled"][0]["terms"]) >= 2
        content = (await client.post("/api/deployment/plan", json=deploy_body(replicas=5))).json()
        assert content["success"] is False
        assert content["error"] == "Insufficient nodes: need 5, found 2 with capacity"
        assert content["available_nodes"] == 2
        assert content["explanation"]["would_unblock"]
        answer = await client.post("/api/deployment/plan", json=deploy_body(replicas=11))
        assert answer.status_code == 400
        made = (await client.post("/api/deployment/deploy", json=deploy_body())).json()
        path = f"/api/deployment/explain/{made['deployment_id']}"
        content = (await client.get(path)).json()
        assert content["summary"]
        assert content["decided_at_sequence"] is None
        assert content["now"]["nodes_considered"] == 2
        async with face.client("somebody-else") as other:
            assert (await other.get(path)).status_code == 404
        face.scheduler.up = False
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
