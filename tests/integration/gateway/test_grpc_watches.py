"""Watches and the record, over loopback gRPC: complete, in order, from any sequence."""

import asyncio
import json
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import audit_service_pb2, deployments_pb2, node_service_pb2, policy_service_pb2
from fogbank.v1 import deployment_service_pb2 as pb
from services.gateway.grpc_api import audit_service
from tests.support.fleet_log import a_spec, an_id
from tests.support.gateway import GatewayWorld, gateway_world, refusal, signed_in
from tests.support.named_users import ALICE, BOB
from tests.support.scripted_agent import scripted_agent

_PATIENCE_S = 5


async def deployed(world: GatewayWorld, principal: Any = ALICE, replicas: int = 1) -> str:
    return (await world.deployments.create(principal, a_spec(replicas=replicas))).deployment_id


def watched(world: GatewayWorld, user: str = "alice", **request: Any) -> Any:
    return world.deployment_service.WatchDeployments(
        pb.WatchDeploymentsRequest(**request), metadata=signed_in(user)
    )


async def take(call: Any, number: int) -> list[Any]:
    async with asyncio.timeout(_PATIENCE_S):
        return [await call.read() for _ in range(number)]


def lines(messages: list[Any]) -> list[tuple[str, int, int]]:
    return [
        (message.deployment_id, message.change.old_status, message.change.new_status)
        for message in messages
    ]


async def test_a_watch_tells_each_change_once(world: GatewayWorld) -> None:
    call = watched(world, after_sequence=1)
    deployment = await deployed(world)
    await world.scheduler.place(deployment, an_id("node-1"))
    await world.deployments.delete(ALICE, deployment)

    assert lines(await take(call, 3)) == [
        (deployment, 0, 1),
        (deployment, 1, 2),
        (deployment, 2, 7),
    ]


async def test_a_watch_resumes_from_any_sequence(world: GatewayWorld) -> None:
    deployments = [await deployed(world) for _ in range(3)]
    for deployment in deployments:
        await world.scheduler.place(deployment, an_id("node-1"))
    everything = await take(watched(world, after_sequence=1), 6)

    for seen in range(6):
        resumed = watched(world, after_sequence=everything[seen].sequence)
        rest = await take(resumed, 5 - seen) if seen < 5 else []
        assert lines(rest) == lines(everything[seen + 1 :])


async def test_a_commit_with_many_changes_is_resumed_within(world: GatewayWorld) -> None:
    """The sequence of a commit is given with the last of its changes only."""
    requests = [pb.CreateDeploymentRequest(spec=_spec_message()) for _ in range(5)]
    await world.deployment_service.CreateDeployments(
        pb.CreateDeploymentsRequest(requests=requests), metadata=signed_in("alice")
    )
    first = await take(watched(world, after_sequence=1), 5)

    assert [message.sequence for message in first] == [1, 1, 1, 1, 2]


def _spec_message() -> Any:
    return spec_to_pb(a_spec())


async def test_history_that_was_forgotten_is_asked_of_the_ledger() -> None:
    async with gateway_world(kept_changes=3) as world:
        deployments = [await deployed(world) for _ in range(10)]
        for deployment in deployments:
            await world.scheduler.place(deployment, an_id("node-1"))

        call = watched(world, after_sequence=1)
        messages = await take(call, 20)
        late = await deployed(world)
        messages += await take(call, 1)

    assert lines(messages) == [
        *((deployment, 0, 1) for deployment in deployments),
        *((deployment, 1, 2) for deployment in deployments),
        (late, 0, 1),
    ]


async def test_a_watch_shows_ones_own_or_what_is_asked_for(world: GatewayWorld) -> None:
    mine, other, theirs = await deployed(world), await deployed(world), await deployed(world, BOB)

    assert lines(await take(watched(world, after_sequence=1), 2)) == [(mine, 0, 1), (other, 0, 1)]
    assert lines(await take(watched(world, "bob", after_sequence=1), 1)) == [(theirs, 0, 1)]
    only = watched(world, after_sequence=1, deployment_ids=[other])
    assert lines(await take(only, 1)) == [(other, 0, 1)]
    both = watched(world, "admin", after_sequence=1, deployment_ids=[mine, theirs])
    assert len(await take(both, 2)) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await take(watched(world, after_sequence=1, deployment_ids=[theirs]), 1)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_quiet_watch_shows_that_it_lives(world: GatewayWorld) -> None:
    call = watched(world, progress_interval=Duration(nanos=100_000_000))

    (message,) = await take(call, 1)

    assert not message.HasField("change")
    assert message.sequence == 1


async def test_nodes_are_watched_from_any_sequence(world: GatewayWorld) -> None:
    call = world.node_service.WatchNodes(
        node_service_pb2.WatchNodesRequest(after_sequence=1), metadata=signed_in("alice")
    )
    async with scripted_agent(world.channel, "node-1") as one:
        await one.shake_hands()
        (first,) = await take(call, 1)
        assert (first.node.name, first.node.replicas) == ("node-1", 0)
        deployment = await deployed(world)
        await world.scheduler.place(deployment, one.node_id)
        (second,) = await take(call, 1)
        assert (second.node.replicas, second.node.booked.cpu_millicores) == (1, 1000)
        again = world.node_service.WatchNodes(
            node_service_pb2.WatchNodesRequest(after_sequence=first.sequence),
            metadata=signed_in("alice"),
        )
        assert (await take(again, 1))[0].node == second.node


async def test_nodes_are_listed_and_shown(world: GatewayWorld) -> None:
    service, metadata = world.node_service, signed_in("alice")
    async with scripted_agent(world.channel, "a") as a, scripted_agent(world.channel, "b") as b:
        await a.shake_hands()
        await b.shake_hands()
        page = await service.ListNodes(
            node_service_pb2.ListNodesRequest(page_size=1), metadata=metadata
        )
        rest = await service.ListNodes(
            node_service_pb2.ListNodesRequest(page_token=page.next_page_token), metadata=metadata
        )
        shown = await service.GetNode(
            node_service_pb2.GetNodeRequest(node=b.node_id), metadata=metadata
        )

    assert [node.name for node in (*page.nodes, *rest.nodes)] == ["a", "b"]
    assert page.total_size == 2
    assert shown.node.name == "b"


async def test_replicas_on_a_node_are_listed_to_who_may_see_them(world: GatewayWorld) -> None:
    hers, his = await deployed(world, replicas=2), await deployed(world, BOB)
    async with scripted_agent(world.channel, "a") as a, scripted_agent(world.channel, "b") as b:
        await a.shake_hands()
        await b.shake_hands()
        first, _elsewhere = await world.scheduler.place(hers, a.node_id, b.node_id)
        (other,) = await world.scheduler.place(his, a.node_id)

        async def on_a(user: str, node: str = "a") -> Any:
            return await world.node_service.ListNodeReplicas(
                node_service_pb2.ListNodeReplicasRequest(node=node), metadata=signed_in(user)
            )

        (own,) = (seen := await on_a("alice")).replicas
        assert (own.deployment_id, own.deployment_name) == (hers, a_spec().name)
        assert (own.replica.id, own.replica.slot, own.replica.node_name) == (first, 0, "a")
        assert own.resources.cpu_millicores == 1000
        assert seen.total_size == 2, "others' are counted"
        assert [each.replica.id for each in (await on_a("bob", a.node_id)).replicas] == [other]
        assert len((await on_a("admin")).replicas) == 2
        assert (await refusal(on_a("admin", "c"))).code() is grpc.StatusCode.NOT_FOUND


async def test_the_active_policy_is_shown(world: GatewayWorld) -> None:
    answer = await world.policy_service.GetPolicyStatus(
        policy_service_pb2.GetPolicyStatusRequest(), metadata=signed_in("alice")
    )
    known = await world.policy_service.ListPolicies(
        policy_service_pb2.ListPoliciesRequest(), metadata=signed_in("alice")
    )

    assert (answer.policy.name, answer.policy.resource_weight) == ("balanced", 0.4)
    assert answer.activated_at_sequence == 1
    assert known.policies[0] == answer.policy


# --- the record -------------------------------------------------------------------------------


def events(world: GatewayWorld, user: str = "admin", **request: Any) -> Any:
    return world.audit_service.ReadEvents(
        audit_service_pb2.ReadEventsRequest(**request), metadata=signed_in(user)
    )


async def test_the_record_is_read_to_its_end(world: GatewayWorld) -> None:
    deployment = await deployed(world)

    commits = [commit async for commit in events(world)]

    assert [commit.sequence for commit in commits] == [1, 2]
    assert commits[0].subject == "fogbank.log.test.1.gateway.one"
    assert len(commits[0].events) == 3
    (created,) = commits[1].events
    assert created.envelope.type == "fogbank.v1.DeploymentCreated"
    assert created.envelope.aggregate == f"deployment/{deployment}"
    assert json.loads(created.payload_json)["spec"]["container_image"] == "nginx:1.24"


async def test_the_record_is_followed_and_filtered(world: GatewayWorld) -> None:
    call = events(world, follow=True, after_sequence=1, types=["fogbank.v1.DeploymentDeleted"])
    deployment = await deployed(world)
    await world.deployments.delete(ALICE, deployment)

    (commit,) = await take(call, 1)

    assert commit.sequence == 3


async def test_authors_read_what_is_theirs(world: GatewayWorld) -> None:
    mine, theirs = await deployed(world), await deployed(world, BOB)
    for deployment in (mine, theirs):
        await world.scheduler.place(deployment, an_id("node-1"))
    await world.deployments.delete(BOB, theirs)

    alices = [commit async for commit in events(world, "alice") if commit.events]
    bobs = [commit async for commit in events(world, "bob") if commit.events]

    assert [commit.sequence for commit in alices] == [2, 4]
    assert [commit.sequence for commit in bobs] == [3, 5, 6]
    assert theirs not in str(alices)
    assert mine not in str(bobs)
    placed = json.loads(alices[1].events[0].payload_json)["outcomes"]
    assert [outcome["placed"]["deployment_id"] for outcome in placed] == [mine]


async def test_authors_read_of_their_updates(world: GatewayWorld) -> None:
    mine = await deployed(world)
    request = pb.UpdateDeploymentRequest(
        deployment_id=mine,
        spec=deployments_pb2.DeploymentSpec(container_image="nginx:2"),
    )
    await world.deployment_service.UpdateDeployment(request, metadata=signed_in("alice"))

    commits = [commit async for commit in events(world, "alice")]

    assert [each.events[0].envelope.type for each in commits] == [
        "fogbank.v1.DeploymentCreated",
        "fogbank.v1.DeploymentUpdated",
    ]
    assert [commit async for commit in events(world, "bob") if commit.events] == []


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("admin", {"types": ["fogbank.v1.DeploymentDeleted"]}),
        ("admin", {"aggregates": ["node/none"]}),
        ("admin", {"subjects": ["fogbank.log.*.*.scheduler.>"]}),
        ("alice", {}),
    ],
)
async def test_who_is_shown_nothing_is_told_how_far_the_log_was_read(
    world: GatewayWorld, user: str, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_service, "STRETCH_COMMITS", 4)
    for _ in range(5):
        await deployed(world, BOB)
    call = events(world, user, follow=True, after_sequence=1, **wanted)
    told = await take(call, 2)
    for _ in range(4):
        await deployed(world, BOB)
    told += await take(call, 1)

    assert [message.sequence for message in told] == [5, 6, 10], "a stretch, the end then, another"
    assert not any(message.events or message.subject for message in told)
    resumed = events(world, user, after_sequence=told[1].sequence, **wanted)
    (message,) = [message async for message in resumed]
    assert (message.sequence, message.last_sequence, len(message.events)) == (10, 10, 0)


@pytest.mark.parametrize(
    ("user", "request_", "code"),
    [
        ("nobody", {}, grpc.StatusCode.UNAUTHENTICATED),
        ("alice", {"after_sequence": -1}, grpc.StatusCode.INVALID_ARGUMENT),
        ("admin", {"after_sequence": 99}, grpc.StatusCode.OUT_OF_RANGE),
    ],
)
async def test_wrong_questions_of_the_record_are_refused(
    world: GatewayWorld, user: str, request_: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await take(events(world, user, **request_), 1)

    assert caught.value.code() is code


async def test_nobody_waits_silently_behind_the_end_of_the_log(world: GatewayWorld) -> None:
    end, metadata = world.fold.position, signed_in("alice")
    mine = await deployed(world)
    nodes = node_service_pb2.WatchNodesRequest(after_sequence=end + 9)
    for call in (
        watched(world, after_sequence=end + 9),
        watched(world, after_sequence=end + 9, deployment_ids=[mine]),
        world.node_service.WatchNodes(nodes, metadata=metadata),
        events(world, "alice", follow=True, after_sequence=end + 9),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(call, 1)
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert f"at most {end + 1}, the log's last sequence" in (caught.value.details() or "")
    await deployed(world)
    assert len(await take(watched(world, after_sequence=end + 1), 1)) == 1, "from its end on"
