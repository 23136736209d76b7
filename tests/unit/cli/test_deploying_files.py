"""`fog deploy -f` of many: in batches, each with its own outcome, and nothing ignored beside it."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_status import rpc_status

from fogbank.cli.main import run
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.runtime.grpc_errors import to_status
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc, deployments_pb2

DOCUMENT = """\
name: web-{number}
type: compute
container_image: nginx
replicas: 1
resources: {{cpu: 1, memory: 64}}
env: {{FILL: "{fill}"}}
"""


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Accepts what it is not told to refuse."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.requests: list[pb.CreateDeploymentRequest] = []
        self.living: dict[str, deployments_pb2.Deployment] = {}
        # By name, the answers before it is accepted: reason and message.
        self.refusals: dict[str, list[tuple[str, str]]] = {}
        self.too_many = self.too_many_lists = 0
        self.fails_after = 1_000

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        if self.too_many_lists:
            self.too_many_lists -= 1
            _refuse_for_now(context)
        return pb.ListDeploymentsResponse(deployments=self.living.values())

    def CreateDeployments(
        self, request: pb.CreateDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.CreateDeploymentsResponse:
        if self.too_many:
            self.too_many -= 1
            _refuse_for_now(context)
        if len(self.batches) == self.fails_after:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no longer yours")
        self.batches.append([each.spec.name for each in request.requests])
        return pb.CreateDeploymentsResponse(
            outcomes=[self._outcome(each) for each in request.requests]
        )

    def _outcome(self, request: pb.CreateDeploymentRequest) -> pb.CreateOutcome:
        name = request.spec.name
        if answers := self.refusals.get(name):
            reason, message = answers.pop(0)
            return pb.CreateOutcome(error_reason=reason, error_message=message)
        made = f"id-of-{name}"
        self.requests.append(request)
        self.living[made] = deployments_pb2.Deployment(id=made, spec=request.spec)
        return pb.CreateOutcome(deployment_id=made, sequence=len(self.living))

    def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.CreateDeploymentResponse:
        outcome = self._outcome(request)
        return pb.CreateDeploymentResponse(deployment=self.living[outcome.deployment_id])


def _refuse_for_now(context: grpc.ServicerContext) -> None:
    error = ResourceExhaustedError("Slow", reason="RATE_LIMITED", retry_after_ms=1)
    context.abort_with_status(rpc_status.to_status(to_status(error)))


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


def a_file(folder: Path, count: int, fill: str = "") -> str:
    path = folder / "many.yaml"
    documents = (DOCUMENT.format(number=number, fill=fill) for number in range(count))
    path.write_text("---\n".join(documents))
    return str(path)


def test_many_are_handed_in_by_the_hundred_and_told_in_their_order(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "-f", a_file(tmp_path, 230)]) == 0
    assert [len(batch) for batch in server.batches] == [100, 100, 30]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"web-{number} (id-of-web-{number}) accepted" for number in range(230)]


def test_a_batch_is_no_larger_than_a_gateway_takes(server: Deployments, tmp_path: Path) -> None:
    assert run(["deploy", "-f", a_file(tmp_path, 5, fill="x" * 400_000), "-o", "name"]) == 0
    assert [len(batch) for batch in server.batches] == [2, 2, 1]


def test_each_refusal_is_told_with_its_name_and_the_others_are_deployed(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = "spec.resources.cpu_millicores: must be between 10.0 and 1000000.0, got 1.0"
    server.refusals = {
        "web-1": [("INVALID_ARGUMENT", bounds)],
        "web-3": [("CLUSTER_NOT_FOUND", "Cluster not found")],
    }
    assert run(["deploy", "-f", a_file(tmp_path, 4), "-o", "json"]) == 1
    said = capsys.readouterr()
    assert [row["name"] for row in json.loads(said.out)] == ["web-0", "web-2"]
    assert "fog: web-3: Cluster not found\n" in said.err
    assert "fog: web-1: cpu: must be between 0.01 and 1000 cores, got 0.001\n" in said.err


def test_what_a_server_is_away_for_is_handed_in_again(
    server: Deployments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogbank.cli.deployment_batches._PAUSE_S", 0)
    server.refusals = {"web-1": [("LOG_UNAVAILABLE", "The event log is not available")] * 2}
    server.too_many = 2
    assert run(["deploy", "-f", a_file(tmp_path, 3)]) == 0
    assert server.batches == [["web-0", "web-1", "web-2"], ["web-1"], ["web-1"]]
    assert len(server.living) == 3


def test_what_was_accepted_is_told_where_a_later_call_fails(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fails_after = 1
    assert run(["deploy", "-f", a_file(tmp_path, 230)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "web-99 (id-of-web-99) accepted"
    assert "fog: 130 deployments from web-100 on: no longer yours" in said.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--replicas", "1"], "give either a file or --replicas, not both"),
        (["--cpu", "2"], "give either a file or --cpu, not both"),
        (["--env", "A=1"], "give either a file or --env, not both"),
        (["--cluster", "edge"], "give either a file or --cluster, not both"),
        (["--wait-for-capacity"], "give either a file or --wait-for-capacity, not both"),
    ],
)
@pytest.mark.parametrize("command", ["deploy", "plan", "update"])
def test_no_flag_beside_a_file_is_ignored_not_even_one_that_says_the_default(
    command: str,
    flags: list[str],
    said: str,
    server: Deployments,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run([command, "-f", a_file(tmp_path, 1), *flags])
    assert code == (255 if command == "plan" else 64)
    assert said in capsys.readouterr().err
    assert not server.living


def test_a_request_id_beside_a_file_is_that_of_its_one_deployment(
    server: Deployments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["deploy", "-f", a_file(tmp_path, 1), "--request-id", "once"]) == 0
    assert [each.request_id for each in server.requests] == ["once"]
    assert run(["deploy", "-f", a_file(tmp_path, 2), "--request-id", "once"]) == 64
    assert "--request-id goes with one deployment" in capsys.readouterr().err


def test_who_lists_many_waits_while_the_rows_are_too_many_for_a_moment(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row counts a little among a user's requests."""
    server.living["id-of-web"] = deployments_pb2.Deployment(id="id-of-web")
    server.too_many_lists = 2
    assert run(["ps", "-o", "name"]) == 0
    assert capsys.readouterr().out == "id-of-web\n"
    assert server.too_many_lists == 0
