"""The compose file, run: everything in it but the images (tests/support/compose.py says how)."""

import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import grpc
import pytest

from fogbank.v1 import deployments_pb2, nodes_pb2
from tests.support.compose import Compose, compose_up, why_not
from tests.support.grpc_user import GrpcUser
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.container,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

_LONG_S = 180
SERVICES = (
    *("nats", "postgres", "gateway-1", "gateway-2", "scheduler-1", "scheduler-2"),
    *("ledger", "agent"),
)


@pytest.fixture(scope="module")
def project() -> Generator[Compose]:
    # Short: podman takes no folder for its state whose path is longer than 50 characters.
    with (
        tempfile.TemporaryDirectory(prefix="fog-compose-", ignore_cleanup_errors=True) as folder,
        compose_up(Path(folder)) as running,
    ):
        try:
            eventually_sync(
                lambda: all(running.healthy(name) for name in SERVICES), _LONG_S, what="health"
            )
        except AssertionError as error:
            error.add_note(running.logs())
            raise
        yield running


@pytest.fixture(scope="module")
def user(project: Compose) -> Generator[GrpcUser]:
    with grpc.insecure_channel(f"{project.addresses['gateway-1']}:50051") as channel:
        admin = GrpcUser(channel)
        password = (project.folder / "secrets" / "admin_password").read_text().strip()
        admin.sign_in("admin", password)
        yield admin


def connected(user: GrpcUser) -> set[str]:
    offline = nodes_pb2.NODE_STATUS_OFFLINE
    return {node.name for node in user.all_nodes() if node.status != offline}


def test_a_deployment_runs_on_the_agents_nodes(user: GrpcUser) -> None:
    eventually_sync(lambda: len(connected(user)) == 4, _LONG_S, what="four nodes")
    deployment = user.create("composed", replicas=2)
    running = user.wait_status(deployment.id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)
    assert running.running_replicas == 2


def test_the_services_have_no_more_than_they_need(project: Compose) -> None:
    for name in SERVICES:
        state = project.state(name)
        host = state["HostConfig"]
        assert "no-new-privileges" in str(host["SecurityOpt"]), name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        if name not in ("nats", "postgres"):
            assert host["ReadonlyRootfs"], name
            assert state["Config"]["User"] == "10001:10001", name
            assert not state["EffectiveCaps"], name


def test_no_secret_is_in_the_environment(project: Compose) -> None:
    secrets = [path.read_text().strip() for path in (project.folder / "secrets").iterdir()]
    for name in SERVICES:
        inspected = str(project.state(name))
        assert not [secret for secret in secrets if secret in inspected], name


@pytest.mark.parametrize("service", ["nats", "ledger"])
def test_what_dies_comes_back(project: Compose, user: GrpcUser, service: str) -> None:
    pid = int(project.state(service)["State"]["Pid"])
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        state = project.state(service)["State"]
        return state["Pid"] not in (0, pid) and project.healthy(service)

    eventually_sync(is_back, _LONG_S, what=f"{service} again")
    deployment = user.create(f"after-{service}")
    user.wait_status(deployment.id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)
