"""The supervisor dies by SIGKILL while deployments are submitted; nothing acknowledged is lost.

What happens when others die is in tests/e2e/chaos.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from fogbank.v1 import deployments_pb2
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.fog_up import FogUp, temporary_data_dir
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("fog-up-kill")]

COUNT = 40
KILL_AFTER = 12


@pytest.fixture
def system() -> Generator[FogUp]:
    with temporary_data_dir() as data_dir:
        running = FogUp(data_dir, "--nodes", "16")
        try:
            running.start()
            yield running
            assert_log_keeps_the_rules(running.state["nats"])
        finally:
            running.end()


class Submitter(threading.Thread):
    """Submits deployments one after the other, each until it is acknowledged."""

    def __init__(self, user: GrpcUser) -> None:
        super().__init__(daemon=True)
        self._user = user
        self.acknowledged: dict[str, str] = {}  # name to id
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for number in range(COUNT):
                name = f"job-{number}"
                deployment = self._user.create(
                    name,
                    replicas=1 + number % 2,
                    cpu_millicores=100,
                    memory_mib=64,
                    storage_gib=0,
                    request_id=f"request-{number}",
                )
                self.acknowledged[name] = deployment.id
        except Exception as error:  # noqa: BLE001  told by the test
            self.error = error


def submit_and(system: FogUp, disturb: Callable[[], None]) -> None:
    """Submit, disturb in the middle, and check that each came out RUNNING exactly once."""
    with grpc_admin(system, patience_s=600) as user:
        submitter = Submitter(user)
        submitter.start()
        eventually_sync(
            lambda: len(submitter.acknowledged) >= KILL_AFTER or submitter.error,
            300,
            what="the first acknowledgements",
        )
        disturb()
        submitter.join(900)
        assert submitter.error is None, f"{submitter.error}\n{system.logs()}"
        assert len(submitter.acknowledged) == COUNT, system.logs()
        check_all_run_once(system, user, submitter.acknowledged)


def check_all_run_once(system: FogUp, user: GrpcUser, acknowledged: dict[str, str]) -> None:
    running = deployments_pb2.DEPLOYMENT_STATUS_RUNNING

    def all_run() -> bool:
        return all(deployment.status == running for deployment in user.all_deployments())

    eventually_sync(all_run, 300, what="all to run")
    listed = user.all_deployments()
    assert {deployment.spec.name: deployment.id for deployment in listed} == acknowledged
    assert len(listed) == COUNT, "none twice"
    wanted: dict[str, str] = {}
    for name, deployment_id in acknowledged.items():
        shown = user.get(deployment_id)
        replicas = [one for one in shown.replicas if one.node_id]
        assert len(replicas) == 1 + int(name.removeprefix("job-")) % 2
        assert {one.state for one in replicas} == {deployments_pb2.REPLICA_STATE_RUNNING}
        wanted |= {one.id: one.node_name for one in replicas}
    eventually_sync(
        lambda: containers(system.data_dir) == Counter(wanted.items()),
        120,
        what="exactly the containers that are wanted, each on its node",
    )


def containers(data_dir: Path) -> Counter[tuple[str, str]]:
    """Return the simulated containers that run, as (replica, node)."""
    found: Counter[tuple[str, str]] = Counter()
    for path in (data_dir / "agents" / "nodes").glob("*/containers/*.json"):
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        if not content["ends_at_us"]:
            found[content["replica_id"], path.parent.parent.name] += 1
    return found


def test_the_supervisor_is_killed_and_started_again(system: FogUp) -> None:
    def disturb() -> None:
        system.kill_supervisor()
        system.start()

    submit_and(system, disturb)
