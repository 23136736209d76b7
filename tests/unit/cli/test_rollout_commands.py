"""`fog update` and `fog rollout`: what they ask for and what they print."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import grpc
import pytest

from fogbank.cli.deploy_command import deploy
from fogbank.cli.main import run
from fogbank.cli.update_command import update
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import (
    deployment_service_pb2_grpc,
    deployments_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
)

ID = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Takes every update, and is as far as it is told to be."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.rollout = pb.GetRolloutResponse(
            deployment_id=ID,
            phase=pb.ROLLOUT_PHASE_DONE,
            revision=2,
            wanted_revision=2,
            replicas=3,
            updated=3,
            available=3,
            message="3 of 3 replicas are of revision 2",
            revisions=[pb.Revision(number=2, wanted=True), pb.Revision(number=1)],
        )
        self.plan = pb.PlanDeploymentResponse(placeable=True)
        self.told: pb.ExplainDeploymentResponse | None = None

    def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.UpdateDeploymentResponse:
        self.requests.append(request)
        return pb.UpdateDeploymentResponse(deployment=_made())

    def GetDeployment(
        self, request: pb.GetDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.GetDeploymentResponse:
        return pb.GetDeploymentResponse(deployment=_made())

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        return pb.ListDeploymentsResponse(deployments=[_made()])

    def RollbackDeployment(
        self, request: pb.RollbackDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.RollbackDeploymentResponse:
        self.requests.append(request)
        return pb.RollbackDeploymentResponse(deployment=_made())

    def GetRollout(
        self, request: pb.GetRolloutRequest, context: grpc.ServicerContext
    ) -> pb.GetRolloutResponse:
        return self.rollout

    def PlanDeployment(
        self, request: pb.PlanDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.PlanDeploymentResponse:
        return self.plan

    def ExplainDeployment(
        self, request: pb.ExplainDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.ExplainDeploymentResponse:
        if self.told is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no scheduler answers")
        return self.told


def _made() -> deployments_pb2.Deployment:
    return deployments_pb2.Deployment(id=ID, spec=deployments_pb2.DeploymentSpec(name="web"))


class Clusters(identity_service_pb2_grpc.IdentityServiceServicer):
    """Has one, called edge."""

    def ListClusters(
        self, request: identity_service_pb2.ListClustersRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.ListClustersResponse:
        edge = identity_service_pb2.Cluster(id=7, name="edge")
        return identity_service_pb2.ListClustersResponse(clusters=[edge])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Deployments]:
    deployments = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(
        Clusters(),  # type: ignore[abstract]  # the other calls are not made
        running,
    )
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield deployments
    running.stop(None).wait()


def test_a_cluster_to_move_to_may_be_named(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["update", ID, "--cluster", "edge"]) == 0
    assert [request.spec.cluster_id for request in server.requests] == [7]
    assert run(["update", ID, "--cluster", "mill"]) == 1
    assert "no cluster is named 'mill'" in capsys.readouterr().err


def test_an_update_names_what_was_given_and_nothing_else(server: Deployments) -> None:
    flags = ["--image", "nginx:2", "--cpu", "0.5", "--env", "A=1", "--max-unavailable", "1"]
    assert run(["update", ID, *flags, "--cluster", "2", "--wait"]) == 0
    (request,) = server.requests
    assert sorted(request.update_mask.paths) == [
        "cluster_id",
        "container_image",
        "env",
        "resources.cpu_millicores",
        "rollout.max_unavailable",
    ]
    assert (request.spec.container_image, request.spec.cluster_id) == ("nginx:2", 2)
    assert request.spec.resources.cpu_millicores == 500
    assert dict(request.env) == {"A": "1"}


def test_an_update_may_change_how_replicas_are_replaced(server: Deployments) -> None:
    flags = ["--min-healthy", "10s", "--progress-deadline", "5m", "--no-auto-rollback"]
    assert run(["update", ID, *flags]) == 0
    (request,) = server.requests
    assert sorted(request.update_mask.paths) == [
        "rollout.auto_rollback",
        "rollout.min_healthy_ms",
        "rollout.progress_deadline_ms",
    ]
    rollout = request.spec.rollout
    assert (rollout.min_healthy_ms, rollout.progress_deadline_ms) == (10_000, 300_000)
    assert rollout.HasField("auto_rollback")
    assert rollout.auto_rollback is False


def test_an_update_takes_what_a_deployment_does(server: Deployments) -> None:
    flags = ["--name", "site", "--replicas", "3", "--type", "storage", "--restart", "on-failure"]
    flags += ["--gpu-model", "a100", "--strategy", "", "--no-allow-colocation"]
    flags += ["--wait-for-capacity", "--port", "80", "--port", "53/udp", "--volume", "d:/data:2"]
    assert run(["update", ID, *flags, "--probe", "http:80/healthz", "--stop-grace", "30s"]) == 0
    (request,) = server.requests
    assert sorted(request.update_mask.paths) == [
        "allow_colocation",
        "container.ports",
        "container.probe",
        "container.stop_grace_ms",
        "container.volumes",
        "gpu_model",
        "name",
        "replicas",
        "restart",
        "strategy",
        "type",
        "wait_for_capacity",
    ]
    spec = request.spec
    assert (spec.name, spec.replicas, spec.gpu_model) == ("site", 3, "a100")
    assert (spec.allow_colocation, spec.wait_for_capacity) == (False, True)
    assert spec.type == deployments_pb2.SERVICE_TYPE_STORAGE
    assert spec.restart == deployments_pb2.RESTART_POLICY_ON_FAILURE
    assert [port.number for port in spec.container.ports] == [80, 53]
    assert spec.container.probe.http.path == "/healthz"
    assert spec.container.stop_grace_ms == 30_000


def test_an_update_has_the_flags_of_a_deployment() -> None:
    of_deploy, of_update = (signature(command).parameters for command in (deploy, update))
    assert of_deploy.keys() <= of_update.keys()


def test_an_update_of_nothing_is_a_mistake(server: Deployments) -> None:
    assert run(["update", ID]) == 64
    assert not server.requests


def test_an_update_that_went_back_is_an_error(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.rollout.phase = pb.ROLLOUT_PHASE_ROLLED_BACK
    server.rollout.message = "2 replicas of revision 2 failed"
    assert run(["update", ID, "--image", "broken", "--wait"]) == 1
    assert "web went back: 2 replicas of revision 2 failed" in capsys.readouterr().err


def test_who_asks_again_for_what_went_back_is_told_that_nothing_is_tried(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.rollout.phase = pb.ROLLOUT_PHASE_ROLLED_BACK
    server.rollout.message = "2 replicas of revision 2 failed"
    assert run(["update", ID, "--image", "broken"]) == 0
    said = capsys.readouterr().err
    assert "fog: warning: web went back: 2 replicas of revision 2 failed\n" in said
    assert f"`fog rollout undo {ID}`, then update as before" in said


def test_status_history_and_undo(server: Deployments, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout", "status", ID]) == 0
    assert capsys.readouterr().out.startswith("done: 3 of 3 replicas are of revision 2\n")
    assert run(["rollout", "history", ID]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["2", "wanted"]
    assert run(["rollout", "status", ID, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["updated"] == 3
    assert run(["rollout", "undo", ID, "--to", "1"]) == 0
    assert server.requests[-1].to_revision == 1


def is_stuck(server: Deployments, waits_for: str) -> None:
    server.rollout.phase = pb.ROLLOUT_PHASE_PROGRESSING
    server.rollout.message = "0 of 3 replicas are of revision 2"
    server.rollout.waits_for = waits_for


def test_an_update_without_room_says_what_helps_and_that_nothing_ends_it(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    is_stuck(server, "room for a replica of revision 2")
    hint = "500 millicores more on fog-2"
    server.told = pb.ExplainDeploymentResponse(now=pb.Explanation(would_unblock=[hint]))
    assert run(["rollout", "status", ID]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "it waits for room for a replica of revision 2",
        "what would unblock it:",
        f"  - {hint}",
        f"as things stand it is not given up; take it back with `fog rollout undo {ID}`",
    ]
    assert run(["rollout", "status", ID, "-o", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["waits_for"] == "room for a replica of revision 2"
    assert (content["gives_up_at"], content["would_unblock"]) == (None, [hint])


def test_an_update_that_will_be_given_up_says_when_and_what_then_happens(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    is_stuck(server, "slot 0 on fog-1 to be well: its probe fails")
    server.rollout.gives_up_at.FromJsonString("2026-01-01T12:10:00Z")
    server.rollout.goes_back_to = 1
    assert run(["rollout", "status", ID]) == 0, "also where no scheduler answers"
    assert capsys.readouterr().out.splitlines()[2:] == [
        "it waits for slot 0 on fog-1 to be well: its probe fails",
        "if it isn't well by 2026-01-01T12:10:00.000Z, it goes back to revision 1",
    ]


def test_a_wait_that_ends_too_early_says_what_it_waited_for(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    is_stuck(server, "room for a replica of revision 2")
    assert run(["rollout", "status", ID, "--wait", "--timeout", "0"]) == 1
    assert "it waits for room for a replica of revision 2" in capsys.readouterr().err


def test_an_update_that_no_node_could_hold_is_accepted_with_a_warning_and_not_waited_for(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = pb.PlanDeploymentResponse(error="Impossible: no node is large enough")
    is_stuck(server, "room for a replica of revision 2")
    assert run(["update", ID, "--cpu", "64"]) == 0
    said = capsys.readouterr()
    assert "fog: warning: web: Impossible: no node is large enough" in said.err
    assert f"fog rollout undo {ID}" in said.err
    assert f"web ({ID}) updated" in said.out
    assert run(["update", ID, "--cpu", "64", "--wait"]) == 2
    assert "fog: web: Impossible: no node is large enough" in capsys.readouterr().err


def test_an_update_that_has_no_room_just_now_is_not_warned_of(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = pb.PlanDeploymentResponse(error="Insufficient nodes: need 2, found 1")
    assert run(["update", ID, "--cpu", "3"]) == 0
    assert capsys.readouterr().err == ""
