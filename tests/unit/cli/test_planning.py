"""`fog plan` and `fog explain`: what they print and how they end."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path

import grpc
import pytest

from fogbank.cli.deploy_command import deploy
from fogbank.cli.main import run
from fogbank.cli.plan_commands import plan
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc, deployments_pb2

ID = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"
TERMS = {"resources": 0.3375, "locality": 0.3}


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Plans as it is told to, and has what was put into it."""

    def __init__(self) -> None:
        self.there: list[deployments_pb2.Deployment] = []
        self.planned: list[deployments_pb2.DeploymentSpec] = []
        self.plan = pb.PlanDeploymentResponse()
        self.told = pb.ExplainDeploymentResponse()

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        return pb.ListDeploymentsResponse(deployments=self.there)

    def PlanDeployment(
        self, request: pb.PlanDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.PlanDeploymentResponse:
        self.planned.append(request.spec)
        return self.plan

    def ExplainDeployment(
        self, request: pb.ExplainDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.ExplainDeploymentResponse:
        return self.told


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Deployments]:
    deployments = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield deployments
    running.stop(None).wait()


def candidate(name: str) -> pb.Candidate:
    return pb.Candidate(node_id=ID, node_name=name, score=638, score_now=600, terms=TERMS)


def explanation(*hints: str) -> pb.Explanation:
    return pb.Explanation(
        nodes_considered=3,
        nodes_feasible=1,
        filters=[pb.FilterCount(filter="cpu", nodes=2, reason="without enough free cpu")],
        best=[candidate("fog-1")],
        would_unblock=hints,
    )


def test_a_plan_takes_the_flags_of_a_deployment() -> None:
    of_deploy, of_plan = (signature(command).parameters for command in (deploy, plan))
    assert of_deploy.keys() - of_plan.keys() == {"request_id", "wait", "timeout"}
    assert all(each.annotation == of_deploy[name].annotation for name, each in of_plan.items())


def test_a_plan_that_would_change_something_ends_with_1(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = pb.PlanDeploymentResponse(
        placeable=True, scheduled=[candidate("fog-1")], explanation=explanation()
    )
    assert run(["plan", "web", "--image", "nginx", "--cpu", "0.5"]) == 1
    assert server.planned[0].resources.cpu_millicores == 500
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "web: 1 replica would be placed"
    assert lines[1].split() == ["NODE", "SCORE", "LOCALITY", "RESOURCES"]
    assert lines[2].split() == ["fog-1", "638", "0.300", "0.338"]


def test_a_plan_without_room_says_why_and_what_would_unblock_it(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = pb.PlanDeploymentResponse(
        error="Insufficient nodes: need 2, found 1 with capacity",
        available_nodes=1,
        explanation=explanation("500 millicores more on fog-2"),
    )
    assert run(["plan", "web", "--image", "nginx", "--replicas", "2"]) == 1
    said = capsys.readouterr().out
    assert "can't be placed now: Insufficient nodes: need 2, found 1 with capacity" in said
    assert "without enough free cpu" in said
    assert "  - 500 millicores more on fog-2" in said
    assert run(["plan", "web", "--image", "nginx", "--replicas", "2", "-o", "json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["action"] == "create"
    assert content["available_nodes"] == 1
    assert content["explanation"]["would_unblock"] == ["500 millicores more on fog-2"]


def test_what_is_deployed_just_so_is_nothing_to_change(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("name: web\ntype: compute\ncontainer_image: nginx\nreplicas: 1\n")
    server.plan = pb.PlanDeploymentResponse(placeable=True, explanation=explanation())
    assert run(["plan", "web", "--image", "nginx"]) == 1
    spec = server.planned[0]
    spec.priority, spec.cluster_id = 50, 1
    server.there = [deployments_pb2.Deployment(id=ID, spec=spec)]
    capsys.readouterr()
    assert run(["plan", "web", "--image", "nginx"]) == 0
    assert capsys.readouterr().out == (f"web: nothing to change; {ID} is deployed like that\n")
    assert run(["plan", "web", "--image", "nginx:2"]) == 1, "another image is a change"


def test_a_plan_says_whose_replicas_would_give_way(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "1c8b4c69-8b64-405f-8e1d-6e4b4a1d9b22"
    server.plan = pb.PlanDeploymentResponse(
        placeable=True,
        scheduled=[candidate("fog-1")],
        preempted=[
            pb.PlannedEviction(deployment_id=ID, deployment_name="batch", replica_ids=["r1"]),
            pb.PlannedEviction(deployment_id=other, replica_ids=["r2", "r3"]),
        ],
        explanation=explanation(),
    )
    assert run(["plan", "web", "--image", "nginx", "--priority", "high"]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["batch", ID, "r1"] in lines
    assert ["-", other, "r2,r3"] in lines
    assert run(["plan", "web", "--image", "nginx", "-o", "json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["preempted"][1] == {
        "deployment_id": other,
        "deployment": None,
        "replica_ids": ["r2", "r3"],
    }


@pytest.mark.parametrize(
    "arguments", [["web"], ["web", "--nope"], ["-f", "none.yaml"], ["web", "--image", "x"]]
)
def test_errors_of_a_plan_end_with_255(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOG_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("FOG_TOKEN", "t")
    assert run(["plan", *arguments]) == 255


def test_an_explanation_shows_the_decision_and_the_present(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.told = pb.ExplainDeploymentResponse(
        summary="1 of 2 replicas wait for a node.",
        explanation=explanation("1 node more"),
        now=explanation("1 node more"),
        decided_at_sequence=17,
        as_of_sequence=19,
    )
    assert run(["explain", ID]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 of 2 replicas wait for a node.\n")
    assert "Decided by the round at sequence 17, and the same as of sequence 19:" in said
    assert said.count("  - 1 node more") == 1
    assert said.count("nodes looked at") == 1, "the tables are shown once where nothing changed"
    server.told.now.nodes_considered = 4
    server.told.now.best[0].score = 600
    assert run(["explain", ID]) == 0
    then, now = capsys.readouterr().out.split("As of sequence 19:")
    assert "Decided by the round at sequence 17:" in then
    assert ["fog-1", "638"] in [line.split() for line in then.splitlines()], "and no present figure"
    assert ["fog-1", "600", "0.300", "0.338"] in [line.split() for line in now.splitlines()]
    assert run(["explain", ID, "-o", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["deployment_id"] == ID
    assert content["explanation"]["best"][0]["terms"] == TERMS


def test_nobody_is_told_to_deploy_into_the_past(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.there = []
    assert run(["ps"]) == 0
    now = "".join(capsys.readouterr())
    assert run(["ps", "--at", "1"]) == 0
    before = "".join(capsys.readouterr())
    assert "fog deploy" in now
    assert "fog deploy" not in before
    assert "no deployments at that time" in before


def test_an_explanation_keeps_the_figures_of_rounds_and_of_the_present_apart(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.told = pb.ExplainDeploymentResponse(
        summary="All 5 replicas have a node.",
        explanation=explanation(),
        decided_at_sequence=17,
        as_of_sequence=19,
        rounds=[
            pb.PlacingRound(sequence=17, slots=[4]),
            pb.PlacingRound(sequence=9, slots=[0, 1, 2]),
            pb.PlacingRound(sequence=5, slots=[3]),
        ],
    )
    for each in server.told.rounds:
        each.decided_at.FromJsonString(f"2026-01-01T00:00:{each.sequence:02}Z")
    assert run(["explain", ID]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["9", "2026-01-01T00:00:09.000Z", "slots", "0-2"] in lines
    assert ["5", "2026-01-01T00:00:05.000Z", "slot", "3"] in lines
    assert f"what each saw: fog audit log deployment/{ID}" in said
    assert "Decided by the round at sequence 17 (2026-01-01T00:00:17.000Z), for slot 4:" in said
    assert "Best nodes then, and the same as of sequence 19 without slot 4, with the terms" in said
    assert ["fog-1", "638", "600", "0.300", "0.338"] in lines, "which score is which, in one line"
    assert "scores change with the load that nodes measure" in said
    server.told.explanation.best[0].score = 600
    assert run(["explain", ID]) == 0
    assert "scores change" not in capsys.readouterr().out
