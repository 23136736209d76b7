"""Too few nodes: the exact words, and what becomes of those who wait."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fogbank.v1 import deployments_pb2
from tests.support.fog_up import ROOT, FogUp, fog_up
from tests.support.grpc_user import grpc_admin
from tests.support.waiting import eventually_sync

# What waits is placed and what cannot is refused in the quick tier as well, on smaller systems.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fog-up-small")]

REASON = "Insufficient nodes: need 5, found 2 with capacity"


@contextmanager
def further_nodes(system: FogUp, count: int) -> Generator[None]:
    """Let a node agent with `count` simulated nodes join while the context lasts."""
    folder = system.data_dir.parent / "further"
    folder.mkdir()
    nodes = folder / "nodes.json"
    nodes.write_text(
        json.dumps(
            [
                {"name": f"late-{number}", "data_dir": str(folder / f"late-{number}")}
                for number in range(1, count + 1)
            ]
        )
    )
    env = dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "FOG_GATEWAY_ADDRS": system.grpc,
        "FOG_AGENT_TOKEN_FILE": str(system.data_dir / "secrets" / "agent_token"),
        "FOG_NODES_FILE": str(nodes),
        "FOG_DATA_DIR": str(folder / "agent"),
        "FOG_RUNTIME": "simulated",
    }
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.node_agent.main"],
            stdout=log,
            stderr=log,
            env=env,
            cwd=folder,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def small_fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text("nodes: [{name: edge, count: 2, cpu: 4, memory: 8192, storage: 100}]\n")
    return path


def test_fails_with_the_exact_text_or_waits_until_more_nodes_join(small_fleet: Path) -> None:
    with (
        fog_up("--fleet", str(small_fleet)) as system,
        grpc_admin(system) as admin,
    ):
        assert {node.name for node in admin.all_nodes()} == {"edge-1", "edge-2"}
        impatient = admin.create("impatient", replicas=5)
        patient = admin.create("patient", replicas=5, wait_for_capacity=True)

        failed = admin.wait_status(impatient.id, deployments_pb2.DEPLOYMENT_STATUS_FAILED)
        assert failed.reason == REASON
        assert failed.available_nodes == 2

        waiting = eventually_sync(
            lambda: (shown := admin.get(patient.id)).reason == REASON and shown,
            what="the reason of the one that waits",
        )
        assert isinstance(waiting, deployments_pb2.Deployment)
        assert waiting.status == deployments_pb2.DEPLOYMENT_STATUS_PENDING

        with further_nodes(system, 3):
            running = admin.wait_status(patient.id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)
            assert len({replica.node_id for replica in running.replicas}) == 5
            still = admin.get(impatient.id)
            assert still.status == deployments_pb2.DEPLOYMENT_STATUS_FAILED
