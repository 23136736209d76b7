"""What somebody with nothing but grpcurl can do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fog_up import FogUp
from tests.support.grpc_user import GrpcUser
from tests.support.waiting import eventually_sync

pytestmark = pytest.mark.xdist_group("fog-up")

GRPCURL = str(Path(sys.executable).with_name("grpcurl"))


class Grpcurl:
    """The program, pointed at a system and signed in."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._header = f"authorization: Bearer {token}"

    def command(self, *arguments: str, data: dict[str, Any] | None = None) -> list[str]:
        given = ["-d", json.dumps(data)] if data is not None else []
        return [GRPCURL, "-plaintext", "-H", self._header, *given, self._address, *arguments]

    def text(self, *arguments: str, data: dict[str, Any] | None = None) -> str:
        result = subprocess.run(
            self.command(*arguments, data=data),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def call(self, method: str, data: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.text(f"fogbank.v1.DeploymentService/{method}", data=data)
        )
        return answer


@pytest.fixture
def grpcurl(system: FogUp, admin: GrpcUser) -> Grpcurl:
    return Grpcurl(system.grpc, admin.token)


def test_lists_the_services(grpcurl: Grpcurl) -> None:
    services = grpcurl.text("list").split()
    assert {
        "fogbank.v1.DeploymentService",
        "fogbank.v1.NodeService",
        "fogbank.v1.IdentityService",
        "fogbank.v1.AuditService",
        "fogbank.v1.AgentService",
        "grpc.health.v1.Health",
    } <= set(services)


def test_describes_a_service_and_a_message(grpcurl: Grpcurl) -> None:
    assert "rpc CreateDeployment (" in grpcurl.text("describe", "fogbank.v1.DeploymentService")
    described = grpcurl.text("describe", "fogbank.v1.CreateDeploymentRequest")
    assert ".fogbank.v1.DeploymentSpec spec = 2" in described


def test_creates_gets_and_watches(grpcurl: Grpcurl, admin: GrpcUser) -> None:
    spec = {
        "name": "by-grpcurl",
        "type": "SERVICE_TYPE_COMPUTE",
        "container_image": "nginx:1.24",
        "replicas": 2,
        "resources": {"cpu_millicores": 500, "memory_mib": 512, "storage_gib": 1},
    }
    created = grpcurl.call("CreateDeployment", {"request_id": "grpcurl-1", "spec": spec})
    deployment_id = created["deployment"]["id"]
    before = int(created["deployment"]["etag"]) - 1
    statuses = [
        change["new_status"] for change in watched(grpcurl, deployment_id, before, changes=3)
    ]
    assert statuses == [
        "DEPLOYMENT_STATUS_PENDING",
        "DEPLOYMENT_STATUS_SCHEDULED",
        "DEPLOYMENT_STATUS_RUNNING",
    ]

    def running() -> dict[str, Any] | None:
        shown = grpcurl.call("GetDeployment", {"deployment_id": deployment_id})["deployment"]
        return shown if shown["status"] == "DEPLOYMENT_STATUS_RUNNING" else None

    shown = eventually_sync(running, what="RUNNING over GetDeployment")
    assert shown is not None
    assert shown["running_replicas"] == 2
    admin.delete_all([deployment_id])


def watched(
    grpcurl: Grpcurl, deployment_id: str, after: int, changes: int
) -> Iterator[dict[str, Any]]:
    """Yield the first changes that WatchDeployments sends after a sequence."""
    request = {"after_sequence": str(after), "deployment_ids": [deployment_id]}
    with subprocess.Popen(
        grpcurl.command("fogbank.v1.DeploymentService/WatchDeployments", data=request),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            text = ""
            for line in process.stdout:
                text += line
                if line == "}\n":
                    message = json.loads(text)
                    text = ""
                    if "change" in message:
                        yield message["change"]
                        changes -= 1
                if not changes:
                    return
        finally:
            process.kill()


def test_errors_carry_reason_and_field(grpcurl: Grpcurl) -> None:
    result = subprocess.run(
        grpcurl.command(
            "fogbank.v1.DeploymentService/CreateDeployment", data={"spec": {"name": "x"}}
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode != 0
    assert "InvalidArgument" in result.stderr
    assert "google.rpc.ErrorInfo" in result.stderr
    assert "spec.container_image" in result.stderr
