"""What the ledger answers, over gRPC and from a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace

import grpc
import grpc.aio
import pytest

from fogbank.codec.views import deployment_from_pb, node_from_pb, timestamp_to_pb
from fogbank.domain import containers as ct
from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec, DisconnectRules, RolloutSpec
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import (
    ConstraintOperator,
    DeploymentStatus,
    NodeStatus,
    ReplicaState,
    RestartPolicy,
    ServiceType,
)
from fogbank.domain.views import DeploymentView
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as pb_grpc
from services.ledger import grpc_api
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from services.ledger.app.queries import Wait
from tests.golden.examples import DETAILS
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import OWNER, START_US, a_fingerprint, a_spec, an_id
from tests.support.ledger import Ledger, StoredLog, a_running_ledger, migrated_database
from tests.support.postgres import PostgresServer

NOW = Wait()


@dataclass
class Asked:
    """A fleet, its log, a ledger that follows it, and a client of that."""

    fleet: LittleFleet
    log: StoredLog
    ledger: Ledger
    client: pb_grpc.LedgerQueryServiceAsyncStub

    async def publish(self) -> int:
        """Let the ledger take in what happened."""
        self.log.publish(self.fleet.log)
        await self.ledger.reaches(self.log.last)
        return self.log.last

    async def deployment(self, deployment_id: str, owner_id: str = "") -> DeploymentView:
        answer = await self.client.QueryDeployment(
            pb.QueryDeploymentRequest(deployment_id=deployment_id, owner_id=owner_id)
        )
        assert answer.as_of_sequence == self.log.last
        return deployment_from_pb(answer.deployment)

    async def names(self, **wanted: object) -> list[str]:
        answer = await self.client.QueryDeployments(
            pb.QueryDeploymentsRequest(**({"limit": 100} | wanted))  # type: ignore[arg-type]
        )
        assert answer.as_of_sequence == self.log.last
        return [found.spec.name for found in answer.deployments]


@asynccontextmanager
async def asked(url: str, fleet: LittleFleet) -> AsyncIterator[Asked]:
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log) as ledger:
        server = GrpcServer([grpc_api.SERVICE_NAME])
        ledger.serve(server.grpc)
        port = await server.start("127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub: pb_grpc.LedgerQueryServiceAsyncStub = pb_grpc.LedgerQueryServiceStub(channel)
                yield Asked(fleet, log, ledger, stub)
        finally:
            await server.stop(0)


@pytest.fixture
async def world(postgres: PostgresServer) -> AsyncIterator[Asked]:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    async with migrated_database(postgres) as url, asked(url, fleet) as world:
        yield world


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_running_deployment(world: Asked) -> None:
    world.fleet.log.pass_ms(1_500)
    deployment_id = world.fleet.deploy(a_spec("web", 2))
    world.fleet.settle()
    world.fleet.log.pass_ms(10)
    world.fleet.obey()
    await world.publish()
    found = await world.deployment(deployment_id, OWNER)
    created_us = START_US + 1_500_000
    assert found.spec == a_spec("web", 2)
    assert found.status is DeploymentStatus.RUNNING
    assert (found.created_at_us, found.updated_at_us) == (created_us, created_us + 10_000)
    assert found.version == world.fleet.planner.fleet.facts.deployments[deployment_id].version
    assert [replica.slot for replica in found.replicas] == [0, 1]
    assert [replica.node_name for replica in found.replicas] == world.fleet.nodes_of(deployment_id)
    assert {replica.started_at_us for replica in found.replicas} == {created_us + 10_000}
    assert [(change.old, change.new) for change in found.recent_changes] == [
        (DeploymentStatus.SCHEDULED, DeploymentStatus.RUNNING),
        (DeploymentStatus.PENDING, DeploymentStatus.SCHEDULED),
        (None, DeploymentStatus.PENDING),
    ]
    assert found.running_replicas == 2
    assert found.available_nodes is None


async def test_a_spec_comes_back_with_every_field(world: Asked) -> None:
    spec = DeploymentSpec(
        name="all",
        type=ServiceType.MIXNODE,
        container_image="img@sha256:00",
        replicas=3,
        resources=Resources(1_501, 513, 11, 333),
        region="us-west",
        priority=71,
        cluster_id=4,
        strategy="spread",
        wait_for_capacity=True,
        constraints=(
            Constraint("label.rack", ConstraintOperator.IN, ("1", "2")),
            Constraint("arch", ConstraintOperator.EXISTS),
        ),
        gpu_model="T4",
        restart=RestartPolicy.NEVER,
        labels={"a": "ü", "b": '"'},
        allow_colocation=True,
        disconnect=DisconnectRules(90_000, False, 60_000),
        rollout=RolloutSpec(2, 1, 7_000, 90_000, auto_rollback=False),
        container=ct.ContainerSpec(
            ("serve", "--all"),
            (ct.Port(53, ct.PortProtocol.UDP),),
            (ct.Volume("data", "/data", 2),),
            ct.HealthProbe(ct.ProbeKind.EXEC, command=("true",)),
            "SIGINT",
            5,
        ),
    )
    plain = DeploymentSpec("", ServiceType.COMPUTE, "", 0, Resources())
    same = [f.name for f in fields(spec) if getattr(spec, f.name) == getattr(plain, f.name)]
    assert not same, "give new fields another value than their default here"
    deployment_id = world.fleet.deploy(spec)
    await world.publish()
    assert (await world.deployment(deployment_id)).spec == spec


async def test_waiting_and_failed_ones(world: Asked) -> None:
    deployment_id = world.fleet.deploy(a_spec(replicas=5))
    await world.publish()
    waiting = await world.deployment(deployment_id)
    assert [(replica.node_id, replica.state) for replica in waiting.replicas] == [
        ("", ReplicaState.PENDING)
    ] * 5
    for _ in range(4):
        world.fleet.settle()
        world.fleet.log.pass_ms(10_000)
    await world.publish()
    failed = await world.deployment(deployment_id)
    assert failed.status is DeploymentStatus.FAILED
    assert failed.reason == "Insufficient nodes: need 5, found 3 with capacity"
    assert failed.available_nodes == 3
    assert failed.replicas == ()


async def test_deleted_ones_stay_readable_by_id_and_hidden_in_lists(world: Asked) -> None:
    deployment_id = world.fleet.deploy(a_spec("gone"))
    world.fleet.settle()
    world.fleet.obey()
    world.fleet.fact(ev.DeploymentDeleted(deployment_id))
    world.fleet.settle()
    world.fleet.obey()
    await world.publish()
    found = await world.deployment(deployment_id)
    assert found.status is DeploymentStatus.DELETED
    assert found.deleted_at_us
    assert [replica.state for replica in found.replicas] == [ReplicaState.STOPPED]
    assert await world.names() == []
    assert await world.names(statuses=[DeploymentStatus.DELETED]) == ["gone"]


async def test_only_the_latest_ten_changes(world: Asked) -> None:
    deployment_id = world.fleet.deploy(a_spec())
    world.fleet.settle()
    world.fleet.obey()
    fleet = world.fleet.planner.fleet
    (replica_id,) = fleet.decisions.of(deployment_id).slots.values()
    node_id = fleet.decisions.placements[replica_id].node_id
    for restart in range(1, 7):
        for state in (ReplicaState.STARTING, ReplicaState.RUNNING):
            seen = replace(world.fleet.log.seen(replica_id, state), restart_count=restart)
            world.fleet.fold(world.fleet.log.report(node_id, seen))
    await world.publish()
    found = await world.deployment(deployment_id)
    assert len(world.fleet.changes) > 10
    assert list(found.recent_changes) == world.fleet.changes[:-11:-1]
    assert found.replicas[0].restart_count == 6


async def test_unknown_ids(world: Asked) -> None:
    for wanted in ("", "web", an_id("nobody"), "x" * 10_000, "\0"):
        request = pb.QueryDeploymentRequest(deployment_id=wanted)
        assert await refusal(world.client.QueryDeployment(request)) == (
            grpc.StatusCode.NOT_FOUND,
            "Deployment not found",
        )


async def test_somebody_elses_is_unknown(world: Asked) -> None:
    deployment_id = world.fleet.deploy(a_spec())
    await world.publish()
    request = pb.QueryDeploymentRequest(deployment_id=deployment_id, owner_id=an_id("other"))
    assert (await refusal(world.client.QueryDeployment(request)))[1] == "Deployment not found"
    assert await world.names(owner_id=an_id("other")) == []
    assert await world.names(owner_id=OWNER) == ["web"]


@pytest.fixture
async def listed(world: Asked) -> Asked:
    """Seven deployments, a second apart; the first two run."""
    for number, name in enumerate(("b", "a", "c%d", "c_d", "cxd", "A", "b")):
        world.fleet.log.pass_ms(1_000)
        world.fleet.deploy(a_spec(name, cluster_id=1 + number % 2))
        if number < 2:
            world.fleet.settle()
            world.fleet.obey()
    await world.publish()
    return world


async def test_lists_are_newest_first_unless_told(listed: Asked) -> None:
    newest = ["b", "A", "cxd", "c_d", "c%d", "a", "b"]
    assert await listed.names() == newest
    assert await listed.names(ascending=True) == newest[::-1]
    by_name = sorted(newest)
    sort = pb.DEPLOYMENT_SORT_NAME
    assert await listed.names(sort_by=sort, ascending=True) == by_name
    assert await listed.names(sort_by=sort) == by_name[::-1]
    by_status = await listed.names(sort_by=pb.DEPLOYMENT_SORT_STATUS)
    assert set(by_status[:2]) == {"a", "b"}


async def test_lists_have_no_replicas_but_count_them(listed: Asked) -> None:
    answer = await listed.client.QueryDeployments(pb.QueryDeploymentsRequest(limit=100))
    assert not any(found.replicas or found.recent_status_changes for found in answer.deployments)
    assert [found.running_replicas for found in answer.deployments] == [0, 0, 0, 0, 0, 1, 1]


async def test_pages_cover_a_list_once(listed: Asked) -> None:
    for sort in pb.DeploymentSort.values():
        seen: list[str] = []
        for offset in range(0, 8, 3):
            answer = await listed.client.QueryDeployments(
                pb.QueryDeploymentsRequest(limit=3, offset=offset, sort_by=sort)
            )
            assert answer.total_size == 7
            seen += [found.id for found in answer.deployments]
        assert len(set(seen)) == len(seen) == 7
    beyond = await listed.client.QueryDeployments(pb.QueryDeploymentsRequest(limit=3, offset=50))
    assert (len(beyond.deployments), beyond.total_size) == (0, 7)


async def test_names_are_searched_by_case_and_without_wildcards(listed: Asked) -> None:
    found = {
        "c": ["cxd", "c_d", "c%d"],
        "%": ["c%d"],
        "_": ["c_d"],
        "c/d": [],
        "\\": [],
        "A": ["A"],
        "a": ["a"],
        "\0": [],
        "'": [],
    }
    assert {part: await listed.names(name_contains=part) for part in found} == found


async def test_bounds_of_creation_are_inclusive(listed: Asked) -> None:
    third = timestamp_to_pb(START_US + 3_000_000)
    assert await listed.names(created_after=third) == ["b", "A", "cxd", "c_d", "c%d"]
    assert await listed.names(created_before=third) == ["c%d", "a", "b"]
    assert await listed.names(created_after=third, created_before=third) == ["c%d"]
    past, future = timestamp_to_pb(-(1 << 50)), timestamp_to_pb(1 << 60)
    assert len(await listed.names(created_after=past, created_before=future)) == 7
    assert await listed.names(created_after=future) == []
    assert await listed.names(created_before=past) == []


async def test_filters_by_status_and_cluster(listed: Asked) -> None:
    assert await listed.names(statuses=[DeploymentStatus.RUNNING]) == ["a", "b"]
    both = [DeploymentStatus.RUNNING, DeploymentStatus.PENDING]
    assert len(await listed.names(statuses=both)) == 7
    assert await listed.names(cluster_id=2) == ["A", "c_d", "a"]


async def test_lists_refuse_what_makes_no_sense(world: Asked) -> None:
    refused: dict[str, dict[str, object]] = {
        "limit: must be 1 to 1000, was 0": {"limit": 0},
        "limit: must be 1 to 1000, was 1001": {"limit": 1_001},
        "offset: must be at least 0, was -1": {"limit": 1, "offset": -1},
        "statuses: must be known statuses, one was 0": {"limit": 1, "statuses": [0]},
        "sort_by: must be a known order, was 99": {"limit": 1, "sort_by": 99},
        "min_sequence: must be at least 0, was -1": {"limit": 1, "min_sequence": -1},
    }
    for message, wanted in refused.items():
        request = pb.QueryDeploymentsRequest(**wanted)  # type: ignore[arg-type]
        assert await refusal(world.client.QueryDeployments(request)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            message,
        )


async def test_a_replica_is_shown_with_its_gpu_devices(world: Asked) -> None:
    world.fleet.connect("a-gpu", a_fingerprint(gpu=3))
    deployment_id = world.fleet.deploy(a_spec(replicas=2, gpu=2, wait_for_capacity=True))
    scaled = world.fleet.deploy(a_spec(gpu=2))
    world.fleet.settle()
    await world.publish()
    for known, devices in ((scaled, (0, 1)), (deployment_id, ())):
        answer = await world.client.QueryDeployment(pb.QueryDeploymentRequest(deployment_id=known))
        assert deployment_from_pb(answer.deployment).replicas[0].gpu_devices == devices


async def test_a_replica_is_shown_with_where_its_ports_are_reached(world: Asked) -> None:
    port = ct.PublishedPort(53, ct.PortProtocol.UDP, 32_768)
    container = ct.ContainerSpec(("serve", "a\0b"))
    deployment_id = world.fleet.deploy(replace(a_spec(), container=container))
    world.fleet.settle()
    decisions = world.fleet.planner.fleet.decisions
    placed = decisions.placements[decisions.of(deployment_id).slots[0]]
    seen = ReplicaObservation(placed.id, 0, ReplicaState.RUNNING, ports=(port,))
    world.fleet.fold(world.fleet.log.report(placed.node_id, seen))
    await world.publish()
    shown = await world.deployment(deployment_id)
    # PostgreSQL has no place for zero characters.
    assert shown.spec.container.command == ("serve", "a\N{REPLACEMENT CHARACTER}b")
    assert shown.replicas[0].ports == (port,)


async def test_nodes(world: Asked) -> None:
    host = a_fingerprint(gpu=2, labels={"rack": "7"}, region="us-west")
    node_id = world.fleet.connect("a-gpu", host)
    epoch = world.fleet.log.epochs[node_id]
    world.fleet.fact(ev.NodeCapacityChanged(node_id, epoch, host, DETAILS))
    world.fleet.deploy(a_spec(gpu=1))
    world.fleet.settle()
    await world.publish()
    answer = await world.client.QueryNodes(pb.QueryNodesRequest(limit=2))
    assert [node.name for node in answer.nodes] == ["a-gpu", "fog-0"]
    assert (answer.total_size, answer.as_of_sequence) == (4, world.log.last)
    for wanted in ("a-gpu", an_id("a-gpu"), an_id("a-gpu").upper()):
        one = await world.client.QueryNode(pb.QueryNodeRequest(node=wanted))
        assert one.node == answer.nodes[0]
    node = node_from_pb(answer.nodes[0])
    assert node.status is NodeStatus.ACTIVE
    assert (node.fingerprint, node.details) == (host, DETAILS)
    assert node.booked == node.held == Resources(1_000, 512, 10, 1_000)
    assert node.replicas == 1
    assert node.epoch == epoch
    assert await refusal(world.client.QueryNode(pb.QueryNodeRequest(node="nowhere"))) == (
        grpc.StatusCode.NOT_FOUND,
        "Node not found",
    )


async def test_status(world: Asked) -> None:
    status = await world.client.GetLedgerStatus(pb.GetLedgerStatusRequest())
    assert status.as_of_sequence == status.log_sequence == status.commits_kept == world.log.last
    assert status.as_of_digest == world.log.store.commits[-1].digest


async def test_an_empty_ledger(postgres: PostgresServer) -> None:
    async with migrated_database(postgres) as url, asked(url, LittleFleet()) as world:
        status = await world.client.GetLedgerStatus(pb.GetLedgerStatusRequest())
        assert status == pb.GetLedgerStatusResponse(scrub=status.scrub)
        assert not status.scrub.ListFields()
        assert await world.names() == []


async def test_a_reader_waits_for_its_own_write(world: Asked) -> None:
    deployment_id = world.fleet.deploy(a_spec())
    mine = world.fleet.log.sequence
    call = world.client.QueryDeployment(
        pb.QueryDeploymentRequest(deployment_id=deployment_id, min_sequence=mine), timeout=60
    )
    early = await refusal(
        world.client.QueryDeployment(pb.QueryDeploymentRequest(deployment_id=deployment_id))
    )
    assert early[0] is grpc.StatusCode.NOT_FOUND
    assert not call.done()
    world.log.publish(world.fleet.log)
    assert (await call).as_of_sequence >= mine


async def test_waits_end_with_the_deadline(world: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_api, "_WAY_BACK_S", 59.5)  # as slow as a busy machine makes it
    at, far = world.log.last, world.log.last + 1
    code, details = await refusal(
        world.client.QueryNodes(pb.QueryNodesRequest(limit=1, min_sequence=far), timeout=60)
    )
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details == f"The ledger is at sequence {at}; {far} was asked for"
    assert world.ledger.progress._waiting == []


async def test_answers_are_whole_while_the_projection_goes_on(world: Asked) -> None:
    """Whoever reads, reads one state: totals fit pages, and positions never fall."""

    async def read() -> None:
        last = 0
        while last < end:
            answer = await world.ledger.answers.queries.deployments(
                DeploymentFilter(limit=1_000, sort_by=DeploymentSort.NAME), NOW
            )
            assert len(answer.value.items) == answer.value.total
            assert answer.as_of_sequence >= last
            last = answer.as_of_sequence
            # One deployment per commit, after the nodes' three.
            assert answer.value.total == last - 3

    for number in range(120):
        world.fleet.deploy(a_spec(f"app-{number:03}"))
    end = world.fleet.log.sequence
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(read())
        for sequence in range(4, end + 1):
            world.log.publish(world.fleet.log, sequence)
            await asyncio.sleep(0)
