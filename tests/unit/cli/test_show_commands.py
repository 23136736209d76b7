"""`fog ps` and `fog status`: whose ids stand in reasons."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import (
    deployment_service_pb2_grpc,
    deployments_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
)

VICTIM = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"
OTHER = "2c1f2f6a-0c0d-4a43-8e3f-6b8f1f5f9a22"
OWN, FOREIGN = "1c8b4c69-8b64-405f-8e1d-6e4b4a1d9b22", "3d9c5d70-9c75-416f-8f2e-7f5c5b2eac33"


def a_deployment(known: str, name: str, reason: str = "") -> deployments_pb2.Deployment:
    return deployments_pb2.Deployment(
        id=known,
        spec=deployments_pb2.DeploymentSpec(name=name, replicas=1),
        status=deployments_pb2.DEPLOYMENT_STATUS_PENDING,
        reason=reason,
        recent_status_changes=[deployments_pb2.StatusChange(reason=reason)],
    )


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Has two deployments that gave way, to one of the caller's and to one that is not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.owner_name = ""
        self.rollout = pb.GetRolloutResponse(phase=pb.ROLLOUT_PHASE_DONE, revision=1)
        self.known = {
            VICTIM: a_deployment(VICTIM, "batch", f"Preempted by {OWN}"),
            OTHER: a_deployment(OTHER, "night", f"Preempted by {FOREIGN}"),
            OWN: a_deployment(OWN, "urgent"),
        }

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        return pb.ListDeploymentsResponse(deployments=self.known.values())

    def GetRollout(
        self, request: pb.GetRolloutRequest, context: grpc.ServicerContext
    ) -> pb.GetRolloutResponse:
        return self.rollout

    def GetDeployment(
        self, request: pb.GetDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.GetDeploymentResponse:
        self.asked.append(request.deployment_id)
        if request.deployment_id not in self.known:
            context.abort(grpc.StatusCode.NOT_FOUND, "Deployment not found")
        name = self.owner_name if request.with_owner_name else ""
        found = self.known[request.deployment_id]
        return pb.GetDeploymentResponse(deployment=found, owner_name=name)


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Has none."""

    def ListNodes(
        self, request: node_service_pb2.ListNodesRequest, context: grpc.ServicerContext
    ) -> node_service_pb2.ListNodesResponse:
        return node_service_pb2.ListNodesResponse()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Deployments]:
    deployments = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(
        Nodes(),  # type: ignore[abstract]  # the other calls aren't made
        running,
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield deployments
    running.stop(None).wait()


def test_who_preempted_is_named_to_those_who_may_see_it(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ps"]) == 0
    said = capsys.readouterr().out
    assert "Preempted by urgent" in said
    assert f"Preempted by {FOREIGN}" in said
    assert sorted(server.asked) == sorted([OWN, FOREIGN])
    assert run(["status", VICTIM]) == 0
    said = capsys.readouterr().out
    assert said.count("Preempted by urgent") == 2
    assert OWN not in said


def test_what_is_as_long_as_a_container_s_id_is_shown_where_wide_is_asked_for(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.known[OWN].replicas.add(id="r0", container_id="6b1f" * 16)
    assert run(["status", OWN]) == 0
    assert "6b1f" not in capsys.readouterr().out
    assert run(["status", OWN, "-o", "wide"]) == 0
    assert "6b1f" * 16 in capsys.readouterr().out


def test_programs_get_the_reason_as_it_is(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ps", "-o", "json"]) == 0
    reasons = [row["reason"] for row in json.loads(capsys.readouterr().out)]
    assert reasons == [f"Preempted by {OWN}", f"Preempted by {FOREIGN}", ""]
    assert not server.asked


def test_everybodys_deployments_are_listed_with_owner_and_cluster(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.known[OWN].owner_id = "u1"
    server.known[OWN].spec.cluster_id = 3
    assert run(["ps", "-A", "-o", "wide"]) == 0
    heading, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading[-3:] == ["CLUSTER", "OWNER", "REASON"], "long as it is, it pushes nothing away"
    assert ["3", "u1", "-"] in [line[-3:] for line in lines]


def test_the_owner_is_named_beside_the_id_where_the_server_tells_the_name(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.known[OWN].owner_id = "u1"
    assert run(["status", OWN]) == 0
    assert ["Owner:", "u1"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    server.owner_name = "ada"
    assert run(["status", OWN]) == 0
    named = ["Owner:", "ada", "(u1)"]
    assert named in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run(["status", OWN, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["owner"], told["owner_id"]) == ("ada", "u1")


def test_an_update_that_was_rolled_back_is_told_with_the_image_that_runs(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    def revision(number: int, image: str) -> pb.Revision:
        return pb.Revision(
            number=number, spec=deployments_pb2.DeploymentSpec(container_image=image)
        )

    server.known[OWN].spec.container_image = "broken:1"
    server.rollout = pb.GetRolloutResponse(
        phase=pb.ROLLOUT_PHASE_ROLLED_BACK,
        revision=2,
        wanted_revision=1,
        message="2 replicas failed; 1 of 1 replicas are of revision 1",
        revisions=[revision(2, "broken:1"), revision(1, "nginx:1.24")],
    )
    assert run(["status", OWN]) == 0
    said = capsys.readouterr().out
    assert "nginx:1.24" in said
    assert "broken:1" not in said
    assert "revision 2 failed, rolled back to 1: 2 replicas failed" in said
    assert run(["status", OWN, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["container_image"] == "broken:1", "what was asked for"
    assert told["rollout"]["phase"] == "rolled_back"
    assert told["rollout"]["wanted_image"] == "nginx:1.24"


def test_ages_are_those_of_the_moment(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    for deployment in server.known.values():
        deployment.created_at.FromJsonString("2031-04-05T06:07:00Z")
    assert run(["ps", "--at", "2031-04-05T06:07:08Z"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in lines if OWN in line] == ["8s"]
    assert run(["ps", "--at", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in lines if OWN in line] == ["-"]


def test_the_beginning_of_an_id_will_do(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", OWN[:8]]) == 0
    assert OWN in capsys.readouterr().out
    assert run(["status", OWN[:13].upper()]) == 0
    server.known["hex"] = a_deployment(OTHER, OWN[:8])
    capsys.readouterr()
    assert run(["status", OWN[:8]]) == 0
    assert OTHER in capsys.readouterr().out, "a name goes first"
    del server.known["hex"]
    twin = OWN[:-1] + "3"
    server.known[twin] = a_deployment(twin, "twin")
    for wrong, said in (
        (OWN[:8], f"{OWN}, {twin}"),
        ("00000000", "no deployment"),
        (OWN[:7], "no"),
    ):
        assert run(["status", wrong]) == 1
        assert said in capsys.readouterr().err


def test_the_variables_of_an_environment_are_named_where_the_server_names_them(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    revision = pb.Revision(number=1, wanted=True, has_env=True)
    server.rollout.wanted_revision = 1
    server.rollout.revisions.append(revision)
    assert run(["status", OWN]) == 0
    assert "given; its values are shown to nobody" in capsys.readouterr().out
    server.rollout.revisions[0].env_names[:] = ["PATH", "TOKEN"]
    assert run(["status", OWN]) == 0
    assert "PATH, TOKEN (values are shown to nobody)" in capsys.readouterr().out
    assert run(["status", OWN, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rollout"]["env_names"] == ["PATH", "TOKEN"]
