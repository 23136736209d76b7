"""`fog deploy`, `fog plan` and `fog update -f` where a living deployment has the name."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.codec.values import spec_from_pb, spec_to_pb
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.ids import command_event_id
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import (
    deployment_service_pb2_grpc,
    deployments_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
)

OWNER = "9a0c1d5e-3a55-4c0e-8a53-0f6b1d3c2e77"
WEB = "name: web\ntype: compute\ncontainer_image: nginx:{tag}\nreplicas: 2\n"
RESOURCES = "resources: {cpu: 0.5, memory: 512}\n"


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Keeps what is made, as the gateway does: under an id that the request's id makes."""

    def __init__(self) -> None:
        self.living: dict[str, deployments_pb2.Deployment] = {}
        self.updates: list[pb.UpdateDeploymentRequest] = []
        self.listings: list[pb.ListDeploymentsRequest] = []

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        self.listings.append(request)
        return pb.ListDeploymentsResponse(
            deployments=[
                each
                for each in self.living.values()
                if request.name_contains in each.spec.name
                and request.cluster_id in {0, each.spec.cluster_id}
            ]
        )

    def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.CreateDeploymentResponse:
        if request.spec.replicas > 10:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "spec.replicas: must be at most 10")
        if request.validate_only:
            return pb.CreateDeploymentResponse()
        made = deployments_pb2.Deployment(
            id=command_event_id(OWNER, "CreateDeployment", request.request_id),
            owner_id=OWNER,
            spec=spec_to_pb(spec_from_pb(request.spec)),
        )
        self.living[made.id] = made
        return pb.CreateDeploymentResponse(deployment=made)

    def CreateDeployments(
        self, request: pb.CreateDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.CreateDeploymentsResponse:
        return pb.CreateDeploymentsResponse(
            outcomes=[
                pb.CreateOutcome(deployment_id=self.CreateDeployment(each, context).deployment.id)
                for each in request.requests
            ]
        )

    def PlanDeployment(
        self, request: pb.PlanDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.PlanDeploymentResponse:
        return pb.PlanDeploymentResponse(placeable=True)

    def GetDeployment(
        self, request: pb.GetDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.GetDeploymentResponse:
        return pb.GetDeploymentResponse(deployment=self.living[request.deployment_id])

    def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.UpdateDeploymentResponse:
        self.updates.append(request)
        there = self.living[request.deployment_id]
        request.update_mask.paths[:] = [each for each in request.update_mask.paths if each != "env"]
        request.update_mask.MergeMessage(request.spec, there.spec, True, True)
        return pb.UpdateDeploymentResponse(deployment=there)


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Has two, in two regions."""

    def ListNodes(
        self, request: node_service_pb2.ListNodesRequest, context: grpc.ServicerContext
    ) -> node_service_pb2.ListNodesResponse:
        return node_service_pb2.ListNodesResponse(
            nodes=[
                nodes_pb2.Node(fingerprint=nodes_pb2.Fingerprint(region=region))
                for region in ("us-west", "eu-north")
            ]
        )


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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text(WEB.format(tag=1) + RESOURCES)
    return path


def test_a_name_that_lives_is_not_deployed_again_but_for_another(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "web", "--image", "nginx", "-o", "name"]) == 0
    known = capsys.readouterr().out.strip()
    assert run(["deploy", "web", "--image", "nginx"]) == 1
    said = capsys.readouterr().err
    assert f"web ({known}) is deployed already" in said
    assert "`fog update web`" in said
    assert "--another" in said
    assert len(server.living) == 1
    assert run(["deploy", "web2", "--image", "nginx"]) == 0, "web is but a part of its name"
    assert run(["deploy", "web", "--image", "nginx", "--cluster", "2"]) == 0, "a cluster of its own"
    assert run(["deploy", "web", "--image", "nginx", "--another"]) == 0
    assert len(server.living) == 4


def test_what_is_wrong_with_a_deployment_is_told_before_that_its_name_is_taken(
    server: Deployments, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "web", "--image", "nginx"]) == 0
    assert run(["deploy", "web", "--image", "nginx", "--replicas", "11"]) == 1
    assert capsys.readouterr().err == "fog: replicas: must be at most 10\n"
    file.write_text(WEB.format(tag=1).replace("replicas: 2", "replicas: 11") + RESOURCES)
    assert run(["deploy", "-f", str(file)]) == 1
    assert capsys.readouterr().err == "fog: replicas: must be at most 10\n"
    assert len(server.living) == 1


def test_the_rules_of_updates_are_given_at_once(server: Deployments) -> None:
    flags = ["--max-surge", "2", "--min-healthy", "0s", "--progress-deadline", "5m"]
    assert run(["deploy", "web", "--image", "nginx", *flags, "--no-auto-rollback"]) == 0
    (there,) = server.living.values()
    assert spec_from_pb(there.spec).rollout == RolloutSpec(2, 0, 0, 300_000, auto_rollback=False)
    assert run(["deploy", "plain", "--image", "nginx"]) == 0
    (plain,) = (each for each in server.living.values() if each.spec.name == "plain")
    assert not plain.spec.HasField("rollout")


def test_a_name_that_lives_is_given_to_no_other_but_for_another(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {}
    for name, cluster in (("web", "1"), ("site", "1"), ("web", "2")):
        deploy = ["deploy", name, "--image", "nginx", "--cluster", cluster, "-o", "name"]
        assert run(deploy) == 0
        made[name, cluster] = capsys.readouterr().out.strip()
    assert run(["update", "site", "--name", "web"]) == 1
    said = capsys.readouterr().err
    assert f"web ({made['web', '1']}) is deployed already" in said
    assert "--another" in said
    assert run(["update", made["web", "2"], "--cluster", "1"]) == 1, "a move meets it too"
    assert not server.updates
    assert run(["update", made["web", "1"], "--name", "web", "--image", "nginx:2"]) == 0
    assert run(["update", "site", "--name", "web", "--cluster", "3"]) == 0, "no other is there"
    assert run(["update", made["site", "1"], "--name", "web", "--cluster", "1", "--another"]) == 0
    assert [server.living[known].spec.name for known in made.values()] == ["web"] * 3


def test_a_file_gives_a_name_that_lives_to_no_other_but_for_another(
    server: Deployments, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "-f", str(file)]) == 0
    assert run(["deploy", "site", "--image", "nginx:1"]) == 0
    assert run(["update", "site", "-f", str(file)]) == 1
    assert "is deployed already" in capsys.readouterr().err
    assert not server.updates
    assert run(["update", "site", "-f", str(file), "--another"]) == 0


def test_a_repeat_of_the_request_is_no_other_deployment(server: Deployments) -> None:
    repeated = ["deploy", "web", "--image", "nginx", "--request-id", "once"]
    assert [run(repeated) for _ in range(2)] == [0, 0]
    assert len(server.living) == 1
    assert run(["deploy", "web", "--image", "nginx", "--request-id", "twice"]) == 1


def test_a_file_is_checked_in_one_call_before_any_of_it_is_deployed(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "many.yaml"
    one = WEB.format(tag=1) + RESOURCES
    file.write_text("---\n".join(one.replace("web", name) for name in ("a", "b", "c")))
    assert run(["deploy", "c", "--image", "nginx"]) == 0
    server.listings.clear()
    assert run(["deploy", "-f", str(file)]) == 1
    said = capsys.readouterr().err
    assert "is deployed already" in said
    assert f"`fog update -f {file}`" in said
    assert (len(server.listings), len(server.living)) == (1, 1)
    assert run(["deploy", "-f", str(file), "--another"]) == 0
    assert len(server.living) == 4


def test_a_file_with_a_name_twice_is_a_mistake(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "twins.yaml"
    file.write_text("---\n".join([WEB.format(tag=1) + RESOURCES] * 2))
    assert run(["deploy", "-f", str(file)]) == 64
    assert "two documents have the name 'web'" in capsys.readouterr().err
    assert run(["deploy", "-f", str(file), "--another"]) == 0
    assert len(server.living) == 2


def test_a_plan_of_a_living_name_shows_what_differs(
    server: Deployments, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "-f", str(file), "-o", "name"]) == 0
    known = capsys.readouterr().out.strip()
    assert run(["plan", "-f", str(file)]) == 0
    file.write_text(
        WEB.format(tag=2)
        + "resources: {cpu: 1.5, memory: 512}\ncontainer: {ports: [{number: 80}]}\n"
    )
    capsys.readouterr()
    assert run(["plan", "-f", str(file)]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["container_image", "nginx:1", "nginx:2"] in lines
    assert ["resources.cpu", "0.5", "1.5"] in lines
    assert ["container.ports", "-", "number=80,protocol=tcp"] in lines
    assert run(["plan", "-f", str(file), "-o", "json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    assert (plan["action"], plan["deployment_id"]) == ("update", known)
    assert plan["differences"][0] == {
        "field": "container_image",
        "deployed": "nginx:1",
        "asked_for": "nginx:2",
    }
    assert run(["plan", "-f", str(file), "--another", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["action"] == "create"


def test_a_plan_of_a_name_that_several_have_tells_of_the_refusal(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run(["deploy", "web", "--image", "nginx", "--another"]) == 0
    capsys.readouterr()
    assert run(["plan", "web", "--image", "nginx:2", "-o", "json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    assert (plan["action"], set(plan["deployment_ids"])) == ("refuse", set(server.living))
    assert run(["plan", "web", "--image", "nginx:2"]) == 1
    assert "`fog deploy` would refuse it" in capsys.readouterr().out
    assert run(["plan", "web", "--image", "nginx"]) == 0, "one of them is like that"


def test_an_update_by_file_makes_it_what_the_file_says(
    server: Deployments, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["deploy", "web", "--image", "nginx:1", "--label", "tier=front", "--port", "80"]) == 0
    )
    assert run(["update", "-f", str(file)]) == 0
    (there,) = server.living.values()
    assert (there.spec.replicas, there.spec.resources.cpu_millicores) == (2, 500)
    assert not there.spec.labels, "a file says all of it"
    assert not there.spec.HasField("container")
    assert "env" not in server.updates[0].update_mask.paths
    capsys.readouterr()
    assert run(["update", "-f", str(file)]) == 0
    assert f"web ({there.id}): nothing to change" in capsys.readouterr().out
    assert len(server.updates) == 1
    file.write_text(file.read_text() + "env: {}\n")
    assert run(["update", "-f", str(file), "--request-id", "r"]) == 0
    assert (len(server.updates), server.updates[1].request_id) == (2, "r")


def test_an_update_by_file_of_one_that_has_another_name(server: Deployments, file: Path) -> None:
    assert run(["deploy", "site", "--image", "nginx:1"]) == 0
    (known,) = server.living
    assert run(["update", known, "-f", str(file)]) == 0
    assert server.living[known].spec.name == "web"


def test_an_update_by_file_changes_nothing_unless_all_of_it_is_there(
    server: Deployments, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "web", "--image", "nginx:1"]) == 0
    text = file.read_text()
    file.write_text(f"{text}---\n{text.replace('web', 'api')}")
    assert run(["update", "-f", str(file)]) == 1
    said = capsys.readouterr().err
    assert "api is not deployed yet" in said
    assert f"`fog deploy -f {file}`" in said
    assert not server.updates


@pytest.mark.parametrize("command", ["deploy", "plan", "update"])
def test_a_region_without_nodes_is_warned_of(
    server: Deployments, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    made = ["deploy", "web", "--image", "nginx", "-o", "json"]
    if command == "update":
        assert run(made) == 0
    ask = [command, *made[1:]]
    assert run([*ask, "--region", "us-wets"]) == (1 if command == "plan" else 0)
    said = capsys.readouterr()
    assert said.err == (
        "fog: warning: no node is in region 'us-wets'; there are nodes in eu-north, us-west\n"
    )
    assert "warning" not in said.out
    server.living.clear()
    if command == "update":
        assert run(made) == 0
    assert run([*ask, "--region", "us-west"]) in {0, 1}
    assert capsys.readouterr().err == ""


def test_nobody_is_warned_of_the_region_that_is_taken_without_asking(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "web", "--image", "nginx"]) == 0
    assert server.living.popitem()[1].spec.region == "us-east"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to update"),
        (["-f", "FILE", "--image", "x"], "give either a file or --image, not both"),
        (["-f", "FILE", "--replace"], "give either a file or --replace, not both"),
        (["-f", "FILE", "--no-replace"], "give either a file or --no-replace, not both"),
        (["web", "-f", "TWO"], "a name or id goes with one deployment"),
        (["-f", "TWO", "--etag", "1.0"], "--etag goes with one deployment"),
        (["web", "--restart", "sometimes"], "--restart must be one of always,"),
        (["web", "--type", "thing"], "--type must be one of compute,"),
    ],
)
def test_updates_that_make_no_sense(
    server: Deployments,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    two = file.with_name("two.yaml")
    two.write_text(f"{file.read_text()}---\n{file.read_text().replace('web', 'api')}")
    paths: dict[str, Any] = {"FILE": str(file), "TWO": str(two)}
    assert run(["update", *(paths.get(each, each) for each in arguments)]) == 64
    assert complaint in capsys.readouterr().err
