"""`fog nodes` and `fog ps --node`: what is on a node, and by what a node goes."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from fogbank.cli.main import run
from fogbank.domain.errors import NotFoundError
from fogbank.runtime.grpc_errors import to_status
from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    deployments_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
    resources_pb2,
)
from fogbank.v1 import node_service_pb2 as pb
from fogbank.v1.moments_pb2 import Moment

FOG_1 = "2c1f2f6a-0c0d-4a43-8e3f-6b8f1f5f9a22"
FOG_2 = "2c1f2f6a-1d1e-4a43-8e3f-6b8f1f5f9a33"
EDGE = "3d9c5d70-9c75-416f-8f2e-7f5c5b2eac33"
WEB, API = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11", "1c8b4c69-8b64-405f-8e1d-6e4b4a1d9b22"


def a_replica(slot: int) -> pb.NodeReplica:
    return pb.NodeReplica(
        deployment_id=WEB,
        deployment_name="web",
        replica=deployments_pb2.Replica(
            id=f"replica-{slot}", slot=slot, state=deployments_pb2.REPLICA_STATE_RUNNING
        ),
        resources=resources_pb2.Resources(cpu_millicores=500, memory_mib=256),
    )


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Has three; on the first are replicas, one fewer with each look at a drained one."""

    def __init__(self) -> None:
        self.named: list[str] = []
        self.as_of: list[Moment] = []
        self.then: list[nodes_pb2.Node] = []
        self.nodes = {
            known: nodes_pb2.Node(id=known, name=name)
            for known, name in ((FOG_1, "fog-1"), (FOG_2, "fog-2"), (EDGE, "cafebabe"))
        }
        self.there = [a_replica(0), a_replica(1)]
        self.of_others = 1
        self.leave = True

    def ListNodes(
        self, request: pb.ListNodesRequest, context: grpc.ServicerContext
    ) -> pb.ListNodesResponse:
        if request.HasField("as_of"):
            return pb.ListNodesResponse(nodes=self.then)
        return pb.ListNodesResponse(nodes=self.nodes.values())

    def GetNode(
        self, request: pb.GetNodeRequest, context: grpc.ServicerContext
    ) -> pb.GetNodeResponse:
        node = self._node(request.node, context)
        self.as_of += [request.as_of] if request.HasField("as_of") else []
        if node.draining and self.leave:
            self.of_others = 0
            self.there = self.there[1:]
        node.replicas = len(self.there) + self.of_others
        return pb.GetNodeResponse(node=node, as_of_sequence=7)

    def ListNodeReplicas(
        self, request: pb.ListNodeReplicasRequest, context: grpc.ServicerContext
    ) -> pb.ListNodeReplicasResponse:
        self._node(request.node, context)
        self.as_of += [request.as_of] if request.HasField("as_of") else []
        return pb.ListNodeReplicasResponse(
            replicas=self.there, total_size=len(self.there) + self.of_others
        )

    def CordonNode(
        self, request: pb.CordonNodeRequest, context: grpc.ServicerContext
    ) -> pb.CordonNodeResponse:
        return pb.CordonNodeResponse(node=self._node(request.node, context))

    def UncordonNode(
        self, request: pb.UncordonNodeRequest, context: grpc.ServicerContext
    ) -> pb.UncordonNodeResponse:
        return pb.UncordonNodeResponse(node=self._node(request.node, context))

    def DrainNode(
        self, request: pb.DrainNodeRequest, context: grpc.ServicerContext
    ) -> pb.DrainNodeResponse:
        node = self._node(request.node, context)
        node.draining, node.reason = True, request.reason
        return pb.DrainNodeResponse(node=node)

    def RemoveNode(
        self, request: pb.RemoveNodeRequest, context: grpc.ServicerContext
    ) -> pb.RemoveNodeResponse:
        self._node(request.node, context)
        return pb.RemoveNodeResponse()

    def _node(self, id_or_name: str, context: grpc.ServicerContext) -> nodes_pb2.Node:
        self.named.append(id_or_name)
        for node in self.nodes.values():
            if id_or_name in {node.id, node.name}:
                return node
        missing = to_status(NotFoundError.of("node", id_or_name))
        context.abort_with_status(rpc_status.to_status(missing))
        raise AssertionError("abort raises")


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Has two."""

    def ListDeployments(
        self,
        request: deployment_service_pb2.ListDeploymentsRequest,
        context: grpc.ServicerContext,
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        return deployment_service_pb2.ListDeploymentsResponse(
            deployments=[
                deployments_pb2.Deployment(
                    id=known, spec=deployments_pb2.DeploymentSpec(name=name, replicas=2)
                )
                for known, name in ((WEB, "web"), (API, "api"))
            ]
        )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Nodes]:
    nodes: Any = Nodes()  # type: ignore[abstract]  # the other calls aren't made
    deployments: Any = Deployments()  # type: ignore[abstract]  # as above
    running = grpc.server(ThreadPoolExecutor(2))
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(nodes, running)
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield nodes
    running.stop(None).wait()


def test_a_node_is_shown_with_what_is_on_it(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["nodes", "show", "fog-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines if line.startswith("web")] == [
        ["web", "0", "running", "0.5", "256"],
        ["web", "1", "running", "0.5", "256"],
    ]
    assert lines[-1] == "1 replica of others' deployments"
    assert run(["nodes", "show", "fog-1", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["replicas"] == 3
    assert [each["slot"] for each in shown["placed_replicas"]] == [0, 1]
    assert shown["placed_replicas"][0]["deployment_id"] == WEB


def test_deployments_on_a_node(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps", "--node", "fog-1", "-o", "name"]) == 0
    assert capsys.readouterr().out == f"{WEB}\n"
    server.there = []
    assert run(["ps", "--node", "fog-1"]) == 0
    assert capsys.readouterr().err == "no deployments on fog-1\n"
    assert run(["ps", "--node", "nowhere"]) == 1
    said = "fog: nowhere: Node not found\n     `fog nodes` lists what there is\n"
    assert capsys.readouterr().err == said
    assert run(["ps", "--node", "fog-1", "--at", "1"]) == 64


def test_a_drain_may_say_why(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nodes", "drain", "fog-1", "--reason", "the rack moves"]) == 0
    assert capsys.readouterr().out == "fog-1 is being drained (the rack moves)\n"


def test_who_waits_for_a_drain_is_told_what_is_left(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["nodes", "drain", "fog-1", "--wait"]) == 0
    assert capsys.readouterr().err == "left on fog-1: web/1\n"


def test_a_node_that_was_not_cordoned_is_not_said_to_come_back(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["nodes", "uncordon", "fog-1"]) == 0
    assert capsys.readouterr().out == "fog-1 was not cordoned: nothing to do\n"
    for field in ("cordoned", "draining"):
        setattr(server.nodes[FOG_2], field, True)
        assert run(["nodes", "uncordon", "fog-2"]) == 0
        assert capsys.readouterr().out == "fog-2 takes replicas again\n"
        setattr(server.nodes[FOG_2], field, False)


def test_a_drain_that_takes_too_long_says_what_is_left(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    server.leave = False
    assert run(["nodes", "drain", "fog-1", "--wait", "--timeout", "0"]) == 1
    said = capsys.readouterr().err
    assert "3 replicas still on fog-1 after 0 s: web/0, web/1, 1 replica of others" in said


@pytest.mark.parametrize(
    "command",
    [
        ["nodes", "show"],
        ["nodes", "cordon"],
        ["nodes", "uncordon"],
        ["nodes", "drain"],
        ["nodes", "remove", "-y"],
        ["ps", "--node"],
    ],
)
def test_a_node_goes_by_the_beginning_of_its_id(
    server: Nodes, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run([*command, FOG_1[:10]]) == 0
    assert server.named[0] == FOG_1
    assert run([*command, FOG_1[:8]]) == 1, "two begin so"
    assert "2 nodes are named '2c1f2f6a'" in capsys.readouterr().err
    assert run([*command, "cafebabe"]) == 0, "a name may look like an id"
    assert server.nodes[EDGE].id in server.named
    assert run([*command, "deadbeef"]) == 1
    assert "deadbeef: Node not found" in capsys.readouterr().err


def test_a_node_is_shown_as_it_was(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nodes", "show", "fog-1", "--at", "12", "-o", "json"]) == 0
    then = json.loads(capsys.readouterr().out)
    assert then["id"] == FOG_1
    assert [each["slot"] for each in then["placed_replicas"]] == [0, 1]
    assert server.as_of == [Moment(sequence=12), Moment(sequence=7)], "both of one commit"
    assert run(["nodes", "show", "fog-1", "--at", "once"]) == 64
    assert "--at 'once' is no moment" in capsys.readouterr().err


def test_a_short_id_at_a_moment_is_of_the_nodes_of_then(server: Nodes) -> None:
    server.then = [nodes_pb2.Node(id=FOG_2, name="before")]
    assert run(["nodes", "show", FOG_2[:8], "--at", "12"]) == 0
    assert server.named == [FOG_2] * 2
    assert server.as_of == [Moment(sequence=12), Moment(sequence=7)]
