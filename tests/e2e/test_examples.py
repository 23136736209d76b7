"""The four example deployments, through each of the three faces, to RUNNING."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from fogbank.cli.deployment_files import read_deployments
from fogbank.cli.deployment_requests import create_request
from fogbank.v1 import deployments_pb2
from tests.support.fog_up import ROOT, FogUp, fog
from tests.support.grpc_user import GrpcUser
from tests.support.waiting import eventually_sync

pytestmark = pytest.mark.xdist_group("fog-up")

EXAMPLES = {
    name: ROOT / "examples" / f"{name}.yaml"
    for name in ("nginx-server", "api-service", "ml-inference", "distributed-storage")
}
REPLICAS = {"nginx-server": 1, "api-service": 3, "ml-inference": 2, "distributed-storage": 5}
CREATED = ("none", "pending", "Deployment created by user")


def expected_history(name: str) -> list[tuple[str, str, str]]:
    count = REPLICAS[name]
    scheduled, running = "Scheduled 1 replica", "The replica started successfully"
    if count > 1:
        scheduled = f"Scheduled {count} replicas across nodes"
        running = f"All {count} replicas started successfully"
    return [CREATED, ("pending", "scheduled", scheduled), ("scheduled", "running", running)]


def body(path: Path) -> dict[str, Any]:
    """Return an example as the REST face takes it."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_through_grpc(admin: GrpcUser) -> None:
    ids = {}
    for name, path in EXAMPLES.items():
        (text,) = read_deployments(path)
        answer = admin.call(admin.deployments.CreateDeployment, create_request(text))
        ids[name] = answer.deployment.id
    for name, deployment_id in ids.items():
        running = admin.wait_status(deployment_id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)
        assert running.running_replicas == REPLICAS[name]
        assert running.health == deployments_pb2.HEALTH_HEALTHY
        nodes = {replica.node_id for replica in running.replicas}
        assert len(nodes) == REPLICAS[name], "each replica has a node of its own"
        words = [
            (change.old_status, change.new_status, change.reason)
            for change in reversed(running.recent_status_changes)
        ]
        status = deployments_pb2.DeploymentStatus
        assert words == [
            (
                0 if old == "none" else status.Value(f"DEPLOYMENT_STATUS_{old.upper()}"),
                status.Value(f"DEPLOYMENT_STATUS_{new.upper()}"),
                why,
            )
            for old, new, why in expected_history(name)
        ]
    assert {node.fingerprint.gpu_model for node in admin.all_nodes() if node.booked.gpu_thousandths}
    admin.delete_all(ids.values())


def test_through_rest(system: FogUp, admin: GrpcUser) -> None:
    with httpx2.Client(
        base_url=system.http, headers={"Authorization": f"Bearer {admin.token}"}, timeout=60
    ) as client:
        ids = {}
        for name in reversed(EXAMPLES):
            answer = client.post("/api/deployment/deploy", json=body(EXAMPLES[name]))
            assert answer.status_code == 202, answer.text
            accepted = answer.json()
            assert accepted["success"] is True
            assert accepted["status"] == "pending"
            assert accepted["replicas"] == REPLICAS[name]
            ids[name] = accepted["deployment_id"]

        for name, deployment_id in ids.items():

            def running(deployment_id: str = deployment_id) -> dict[str, Any] | None:
                status = client.get(f"/api/deployment/status/{deployment_id}")
                if status.status_code == 404:  # not yet projected
                    return None
                shown: dict[str, Any] = status.json()
                return shown if shown["status"] == "running" else None

            shown = eventually_sync(running, 120, what=f"{name} to run")
            assert shown is not None
            assert shown["health"] == "healthy"
            assert len({replica["node_id"] for replica in shown["replicas"]}) == REPLICAS[name]
            assert all(
                replica["container_id"] == f"stub-container-{replica['id']}"
                for replica in shown["replicas"]
            )
            assert [
                (change["old_status"], change["new_status"], change["reason"])
                for change in reversed(shown["recent_status_changes"])
            ] == expected_history(name)
    admin.delete_all(ids.values())


def test_through_the_fog_command(system: FogUp, admin: GrpcUser) -> None:
    ids = []
    for name in ("distributed-storage", "nginx-server", "ml-inference", "api-service"):
        result = fog(system, "deploy", "-f", str(EXAMPLES[name]), "--wait", "--timeout", "120")
        assert result.returncode == 0, result.stderr
        assert f"runs with {REPLICAS[name]} replica" in result.stdout
    listed = json.loads(fog(system, "ps", "-o", "json").stdout)
    for row in listed:
        assert row["status"] == "running"
        assert row["running_replicas"] == REPLICAS[row["name"]]
        shown = json.loads(fog(system, "status", row["name"], "-o", "json").stdout)
        assert {replica["runtime"] for replica in shown["replicas"]} == {"simulated"}
        assert [
            (change["old_status"], change["new_status"], change["reason"])
            for change in reversed(shown["recent_status_changes"])
        ] == expected_history(row["name"])
        ids.append(row["id"])
    assert len(ids) == len(EXAMPLES)
    nodes = json.loads(fog(system, "nodes", "-o", "json").stdout)
    assert sum(node["replicas"] for node in nodes) == sum(REPLICAS.values())
    admin.delete_all(ids)
