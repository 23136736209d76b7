"""A whole agent with its disk and its runtime, against a gateway that is a real gRPC server."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fogbank.domain.states import ReplicaState
from fogbank.v1.deployments_pb2 import Health, RestartPolicy
from fogbank.v1.nodes_pb2 import RuntimeKind
from services.node_agent.app.ports import DiskDamagedError
from services.node_agent.core.stimuli import ContainerEnded
from tests.support.agents import running_agent
from tests.support.fake_gateway import FakeGateway
from tests.support.waiting import eventually


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with FakeGateway(token="secret", heartbeat_period_ms=20) as gateway:
        yield gateway


async def test_a_node_shakes_hands_and_says_what_it_is(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        fingerprint = node.hellos[0].fingerprint
        assert fingerprint.runtime == RuntimeKind.RUNTIME_KIND_SIMULATED
        assert fingerprint.capacity.cpu_millicores == 4000
        assert fingerprint.region == "us-east"
        await eventually(lambda: len(node.heartbeats) > 2)


async def test_a_replica_runs_and_stops(gateway: FakeGateway, tmp_path: Path) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
        last = node.last("a")
        assert last is not None
        assert last.container_id == "stub-container-a"
        await eventually(lambda: node.heartbeats and node.heartbeats[-1].usage.cpu_percent > 10)
        await eventually(lambda: node.heartbeats[-1].reflects_sequence == node.sequence)
        gateway.stop(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.STOPPED))
        gateway.forget(node, "a")
        assert node.seen("a") == [(0, "STARTING"), (0, "RUNNING"), (0, "STOPPED")]
        assert [report.number for report in node.accepted] == list(range(1, len(node.accepted) + 1))
        assert not node.refused


async def test_an_end_that_comes_while_the_agent_stops_is_left_to_its_next_start(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    """It may be the host's doing, which is shutting down."""
    async with running_agent(tmp_path, [gateway.address], token="secret") as agent:
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
        agent.task.cancel()
        agent.agent.post(ContainerEnded("a", 0, 0))
    observed = agent.agent.core.kept.replicas["a"].observed
    assert observed is not None
    assert observed.state is ReplicaState.RUNNING


async def test_a_runtime_that_breaks_at_one_replica_does_not_end_the_agent(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret") as agent:
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        broken: list[str] = []
        remove_it = agent.runtime.remove

        async def remove(replica_id: str) -> None:
            if len(broken) < 2:
                broken.append(replica_id)
                raise KeyError("what nobody thought of")
            await remove_it(replica_id)

        monkeypatch.setattr(agent.runtime, "remove", remove)
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
        gateway.stop(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.STOPPED))
        gateway.forget(node, "a")
        gateway.assign(node, "b")
        await eventually(lambda: node.is_in("b", ReplicaState.RUNNING))

        async def only_b_is_left() -> bool:
            return [each.replica_id for each in await agent.runtime.containers()] == ["b"]

        await eventually(only_b_is_left, what="the removal that failed at first")
        assert broken == ["a", "a"]


async def test_a_failing_replica_is_started_again_and_given_up(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        gateway.assign(node, "a", "simulated/exit:3")
        gateway.assign(node, "b", "simulated/missing")
        gateway.assign(node, "c", "simulated/job:5", RestartPolicy.RESTART_POLICY_ON_FAILURE)
        await eventually(lambda: (last := node.last("a")) and last.final)
        assert [seen for seen in node.seen("a") if seen[1] != "RUNNING"] == [
            step for count in range(3) for step in ((count, "STARTING"), (count, "FAILED"))
        ]
        gateway.assign(node, "d", "simulated/unhealthy")
        await eventually(lambda: node.is_in("b", ReplicaState.REJECTED))
        assert (last := node.last("b"))
        assert last.unobtainable
        await eventually(
            lambda: (last := node.last("d")) and last.health == Health.HEALTH_UNHEALTHY
        )
        await eventually(lambda: node.is_in("c", ReplicaState.COMPLETE))


async def test_an_agent_comes_back_with_its_identity_and_its_containers(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
    async with running_agent(tmp_path, [gateway.address], token="secret") as agent:
        await eventually(lambda: node.epoch == 2 and node.connected)
        assert len(gateway.nodes) == 1
        again = node.hellos[-1]
        assert again.last_epoch == 1
        assert again.last_sequence == node.sequence
        assert [seen.replica_id for seen in again.running] == ["a"]
        assert [each.running for each in await agent.runtime.containers()] == [True]
        assert node.seen("a") == [(0, "STARTING"), (0, "RUNNING")]


async def test_an_agent_works_on_while_cut_off_and_tells_afterwards(tmp_path: Path) -> None:
    async with FakeGateway() as gateway:
        nodes = gateway.nodes
        async with running_agent(tmp_path, [gateway.address]):
            await eventually(lambda: gateway.connected("node-1"))
            node = gateway.node("node-1")
            gateway.assign(node, "a", "simulated/job:300", RestartPolicy.RESTART_POLICY_NEVER)
            gateway.assign(node, "b")
            await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
    # Nobody listens any more. The agent starts what it has on disk and dials in vain.
    async with running_agent(tmp_path, [gateway.address]) as agent:
        await eventually(
            lambda: (
                hasattr(agent.agent, "_core")
                and agent.agent.core.state_of("a") is ReplicaState.COMPLETE
            )
        )
        assert agent.agent.core.state_of("b") is ReplicaState.RUNNING
        port = int(gateway.address.rpartition(":")[2])
        async with FakeGateway(nodes=nodes, port=port) as back:
            await eventually(lambda: back.connected("node-1"))
            await eventually(lambda: node.is_in("a", ReplicaState.COMPLETE))
            assert node.seen("a") == [(0, "STARTING"), (0, "RUNNING"), (0, "COMPLETE")]
            assert not node.refused


async def test_unacknowledged_reports_come_again_with_their_numbers(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
        # The log that the next gateway reads has none of the last two.
        del node.accepted[1:]
        node.last_report = 1
        gateway.acknowledges = False
        gateway.hang_up()
        await eventually(lambda: node.epoch == 2 and node.is_in("a", ReplicaState.RUNNING))
        assert (node.accepted[0].epoch, node.accepted[0].number) == (1, 1)
        assert {each.epoch for each in node.accepted[1:]} == {2}


async def test_a_gap_makes_the_agent_ask_for_everything(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
        node = gateway.node("node-1")
        node.sequence += 1
        gateway.assign(node, "a")
        await eventually(lambda: node.is_in("a", ReplicaState.RUNNING))
        assert node.epoch == 2


async def test_a_drained_gateway_is_left_for_another(tmp_path: Path) -> None:
    async with (
        FakeGateway() as first,
        FakeGateway(nodes=first.nodes) as second,
        running_agent(tmp_path, [first.address, second.address]),
    ):
        await eventually(lambda: first.connected("node-1"))
        used, other = (first, second) if first.streams else (second, first)
        used.drain()
        await eventually(lambda: other.streams == 1 and other.connected("node-1"))


async def test_a_dead_gateway_is_left_for_another(tmp_path: Path) -> None:
    async with FakeGateway() as alive:
        async with FakeGateway() as dead:
            pass
        async with running_agent(tmp_path, [dead.address, alive.address], seed=1):
            await eventually(lambda: alive.connected("node-1"))


async def test_a_refused_agent_keeps_trying(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.refuses_with = grpc.StatusCode.PERMISSION_DENIED
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        gateway.refuses_with = None
        await eventually(lambda: gateway.connected("node-1"))


async def test_a_damaged_disk_ends_the_agent(gateway: FakeGateway, tmp_path: Path) -> None:
    async with running_agent(tmp_path, [gateway.address], token="secret"):
        await eventually(lambda: gateway.connected("node-1"))
    store = tmp_path / "agent.sqlite"
    store.write_bytes(b"x" + store.read_bytes()[1:])
    async with running_agent(tmp_path, [gateway.address], token="secret") as agent:
        with pytest.raises(DiskDamagedError, match=r"agent\.sqlite is damaged"):
            await agent.ended()
