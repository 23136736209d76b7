"""`fog up --runtime container`: what is asked for really runs, and only once."""

import urllib.request
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from fogbank.v1 import deployments_pb2, nodes_pb2
from services.node_agent.adapters.container_config import NODE, REPLICA, RESTART
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.containers import RUNS, PodmanEngine, remove_all
from tests.support.fog_up import FogUp, fog_up
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

REPLICAS = 3
RUNNING = deployments_pb2.DEPLOYMENT_STATUS_RUNNING


@pytest.fixture(scope="module")
def system(podman: PodmanEngine) -> Generator[FogUp]:
    settings = {
        "FOG_ENGINE_SOCKET": podman.url,
        "FOG_RESTART_DELAY_S": "0.2",
        "FOG_STOP_GRACE_S": "2",
    }
    with fog_up("--runtime", "container", "--nodes", str(REPLICAS), env=settings) as running:
        yield running
        assert_log_keeps_the_rules(running.state["nats"])
    remove_all(podman)


@pytest.fixture
def admin(system: FogUp) -> Generator[GrpcUser]:
    with grpc_admin(system) as user:
        yield user


@pytest.fixture
def pages(
    system: FogUp, admin: GrpcUser, podman: PodmanEngine
) -> Generator[deployments_pb2.Deployment]:
    """A deployment of three replicas that runs; nothing of it is left afterwards."""
    asked = admin.create(
        "pages",
        replicas=REPLICAS,
        cpu_millicores=200,
        memory_mib=64,
        storage_gib=0,
        container_image=RUNS,
    )
    eventually_sync(
        lambda: admin.get(asked.id).status == RUNNING, 60, what=f"a page\n{system.logs()}"
    )
    yield admin.get(asked.id)
    admin.delete(asked.id)
    eventually_sync(lambda: not podman.containers(), 300, what="the removal of all containers")
    admin.wait_status(asked.id, deployments_pb2.DEPLOYMENT_STATUS_DELETED)


def replica_of(container: dict[str, Any]) -> str:
    return str(container["Labels"][REPLICA])


def fetch(podman: PodmanEngine, container: dict[str, Any]) -> str:
    """Return the page that a container serves, from its own address."""
    url = f"http://{podman.address(container['Id'])}/"

    def answer() -> bytes | None:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                body: bytes = response.read()
                return body
        except OSError:
            return None

    page = eventually_sync(answer, 120, what=f"a page from {url}")
    assert page is not None
    return page.decode()


def test_each_replica_serves_its_page(
    system: FogUp, admin: GrpcUser, podman: PodmanEngine, pages: deployments_pb2.Deployment
) -> None:
    assert system.state["engine"] == podman.url
    nodes = {node.id: node for node in admin.all_nodes()}
    kinds = {node.fingerprint.runtime for node in nodes.values()}
    assert kinds == {nodes_pb2.RUNTIME_KIND_CONTAINER}
    replicas = {one.id: one for one in pages.replicas}
    containers = podman.containers(running_only=True)
    assert {replica_of(each) for each in containers} == set(replicas)
    for container in containers:
        replica = replicas[replica_of(container)]
        assert container["Id"] == replica.container_id
        assert container["Labels"][NODE] == replica.node_id
        assert fetch(podman, container) == f"page of {container['Id'][:12]}\n"
    assert len({one.node_id for one in replicas.values()}) == REPLICAS


def test_a_container_killed_by_hand_is_started_again(
    admin: GrpcUser, podman: PodmanEngine, pages: deployments_pb2.Deployment
) -> None:
    victim = podman.containers()[0]
    podman.podman("kill", victim["Id"])

    def again() -> dict[str, Any] | None:
        for each in podman.containers(running_only=True):
            if replica_of(each) == replica_of(victim) and each["Id"] != victim["Id"]:
                return each
        return None

    successor = eventually_sync(again, 120, what="a new container for the replica")
    assert successor is not None
    assert successor["Labels"][RESTART] == "1"
    assert fetch(podman, successor) == f"page of {successor['Id'][:12]}\n"

    def known() -> bool:
        shown = admin.get(pages.id)
        (replica,) = [one for one in shown.replicas if one.id == replica_of(victim)]
        return (
            shown.status == RUNNING
            and replica.restart_count == 1
            and replica.container_id == successor["Id"]
        )

    eventually_sync(known, 120, what="the restart in the log")
    assert len(podman.containers()) == REPLICAS


def test_an_agent_that_was_killed_finds_its_containers_again(
    system: FogUp, admin: GrpcUser, podman: PodmanEngine, pages: deployments_pb2.Deployment
) -> None:
    before = {each["Id"] for each in podman.containers(running_only=True)}
    agents = [child for child in system.state["pids"] if child.startswith("agent-")]
    assert len(agents) == REPLICAS
    started = {one.id: (one.container_id, one.restart_count) for one in pages.replicas}
    for agent in agents:
        system.back(agent, system.kill_child(agent), timeout_s=120)
    eventually_sync(
        lambda: all(
            node.status == nodes_pb2.NODE_STATUS_ACTIVE and node.epoch > 0
            for node in admin.all_nodes()
        ),
        60,
        what="the agents' return",
    )
    # What the agents do from here on, they do knowing their containers: scale down needs that.
    podman.podman("kill", min(before))
    eventually_sync(
        lambda: min(before) not in {each["Id"] for each in podman.containers()},
        120,
        what="the returned agent's restart of what ended",
    )
    eventually_sync(
        lambda: len(podman.containers(running_only=True)) == REPLICAS, 120, what="three again"
    )
    after = podman.containers()
    assert max(Counter(map(replica_of, after)).values()) == 1
    assert before - {each["Id"] for each in after} == {min(before)}

    def unchanged() -> int:
        now = admin.get(pages.id).replicas
        return sum(started[each.id] == (each.container_id, each.restart_count) for each in now)

    eventually_sync(lambda: unchanged() == REPLICAS - 1, 60, what="the record of the restart")
