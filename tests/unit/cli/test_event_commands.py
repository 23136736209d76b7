"""`fog events`: what its filters are taken for."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import (
    audit_service_pb2_grpc,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    deployments_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
)

DEPLOYMENT = "d308f5be-7a53-4f5e-9d0c-5d3a3f0c8a11"
NODE = "2c1f2f6a-0c0d-4a43-8e3f-6b8f1f5f9a22"
GONE = "884ff5a3-8b64-405f-8e1d-6e4b4a1d9b22"


class Events(audit_service_pb2_grpc.AuditServiceServicer):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[pb.ReadEventsRequest] = []
        self.read_to = 0

    def ReadEvents(
        self, request: pb.ReadEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReadEventsResponse]:
        self.asked.append(request)
        if self.read_to and not request.after_sequence:
            yield pb.ReadEventsResponse(sequence=self.read_to)
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        if self.read_to:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "the end of the test")


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Has one that lives and one that is deleted."""

    def ListDeployments(
        self,
        request: deployment_service_pb2.ListDeploymentsRequest,
        context: grpc.ServicerContext,
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        spec = deployments_pb2.DeploymentSpec(name="hi")
        known = [deployments_pb2.Deployment(id=DEPLOYMENT, spec=spec)]
        if deployments_pb2.DEPLOYMENT_STATUS_DELETED in request.statuses:
            known.append(deployments_pb2.Deployment(id=GONE, spec=spec))
        return deployment_service_pb2.ListDeploymentsResponse(deployments=known)


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Has one."""

    def ListNodes(
        self, request: node_service_pb2.ListNodesRequest, context: grpc.ServicerContext
    ) -> node_service_pb2.ListNodesResponse:
        return node_service_pb2.ListNodesResponse(nodes=[nodes_pb2.Node(id=NODE, name="fog-1")])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Events]:
    events = Events()  # type: ignore[abstract]  # the other calls aren't made
    deployments, nodes = Deployments(), Nodes()  # type: ignore[abstract]  # as above
    running = grpc.server(ThreadPoolExecutor(2))
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(events, running)
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(nodes, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield events
    running.stop(None).wait()


@pytest.mark.parametrize(
    ("about", "aggregate"),
    [
        ("hi", f"deployment/{DEPLOYMENT}"),
        ("deployment/hi", f"deployment/{DEPLOYMENT}"),
        ("deployment/d308f5be", f"deployment/{DEPLOYMENT}"),
        ("884ff5a3", f"deployment/{GONE}"),
        (DEPLOYMENT, f"deployment/{DEPLOYMENT}"),
        ("fog-1", f"node/{NODE}"),
        ("node/fog-1", f"node/{NODE}"),
        ("node/2c1f2f6a", f"node/{NODE}"),
        (NODE, f"node/{NODE}"),
        ("cluster/1", "cluster/1"),
        ("policy", "policy"),
    ],
)
def test_things_are_known_by_name_and_by_short_id(
    server: Events, about: str, aggregate: str
) -> None:
    assert run(["events", "--about", about]) == 0
    assert list(server.asked[0].aggregates) == [aggregate]


def test_who_follows_goes_on_from_where_the_log_was_read_to(
    server: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    server.read_to = 5_000
    assert run(["events", "--follow", "--type", "DeploymentCreated"]) == 1
    assert [request.after_sequence for request in server.asked] == [0, 5_000]
    assert capsys.readouterr().out == ""


def test_types_are_known_as_tables_print_them(server: Events) -> None:
    short, full = "DeploymentCreated", "fogbank.v1.RoundDecided"
    assert run(["events", "--type", short, "--type", full]) == 0
    assert list(server.asked[0].types) == ["fogbank.v1.DeploymentCreated", full]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--type", "Nonsense"], "DeploymentCreated"),
        (["--about", "nobody"], "no deployment or node is named 'nobody'"),
        (["--about", "deployment/nobody"], "no deployment is named 'nobody'"),
        (["--about", "node/ffffffff"], "no node is named 'ffffffff'"),
        (["--about", "replica/x"], "deployment, node, cluster"),
    ],
)
def test_what_there_is_not_is_refused(
    server: Events, capsys: pytest.CaptureFixture[str], wrong: list[str], said: str
) -> None:
    assert run(["events", *wrong]) != 0
    assert said in capsys.readouterr().err
    assert not server.asked
