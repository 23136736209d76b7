"""`fog exec`: that a node only pretends is told to whoever runs a command there."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    deployments_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
    replica_service_pb2,
    replica_service_pb2_grpc,
)

WEB = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Has one, of two replicas on two nodes, after one that waits."""

    def GetDeployment(
        self,
        request: deployment_service_pb2.GetDeploymentRequest,
        context: grpc.ServicerContext,
    ) -> deployment_service_pb2.GetDeploymentResponse:
        placed = [("", 0), ("pretends", 1), ("runs", 2)]
        replicas = [
            deployments_pb2.Replica(id=f"r{slot}", slot=slot, node_id=node) for node, slot in placed
        ]
        return deployment_service_pb2.GetDeploymentResponse(
            deployment=deployments_pb2.Deployment(id=WEB, replicas=replicas)
        )


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Has one that pretends and one that does not."""

    def GetNode(
        self, request: node_service_pb2.GetNodeRequest, context: grpc.ServicerContext
    ) -> node_service_pb2.GetNodeResponse:
        kinds = {
            "pretends": nodes_pb2.RUNTIME_KIND_SIMULATED,
            "runs": nodes_pb2.RUNTIME_KIND_CONTAINER,
        }
        host = nodes_pb2.Fingerprint(runtime=kinds[request.node])
        return node_service_pb2.GetNodeResponse(
            node=nodes_pb2.Node(name=request.node, fingerprint=host)
        )


class Replicas(replica_service_pb2_grpc.ReplicaServiceServicer):
    """Answers commands."""

    def Exec(
        self, request: replica_service_pb2.ExecRequest, context: grpc.ServicerContext
    ) -> Iterator[replica_service_pb2.ExecResponse]:
        yield replica_service_pb2.ExecResponse(output=b"hi\n")
        yield replica_service_pb2.ExecResponse(exit_code=3)


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    deployments: Any = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    nodes: Any = Nodes()  # type: ignore[abstract]  # as above
    replicas: Any = Replicas()  # type: ignore[abstract]  # as above
    running = grpc.server(ThreadPoolExecutor(2))
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(nodes, running)
    replica_service_pb2_grpc.add_ReplicaServiceServicer_to_server(replicas, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield
    running.stop(None).wait()


@pytest.mark.parametrize("slot", [(), ("--slot", "1")])
def test_a_node_that_pretends_is_named(
    capfd: pytest.CaptureFixture[str], slot: tuple[str, ...]
) -> None:
    assert run(["exec", WEB, *slot, "--", "echo", "hi"]) == 3
    said = capfd.readouterr()
    assert said.out == "hi\n"
    assert said.err.startswith("fog: pretends only simulates containers")


def test_of_a_node_that_runs_containers_nothing_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["exec", WEB, "--slot", "2", "--", "echo", "hi"]) == 3
    assert capfd.readouterr().err == ""
