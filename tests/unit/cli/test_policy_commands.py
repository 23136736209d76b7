"""`fog policy`: what it lists, shows and activates."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import yaml

from fogbank.cli.main import run
from fogbank.codec.policies import policy_to_pb
from fogbank.domain.policy import Policy
from fogbank.v1 import policy_service_pb2 as pb
from fogbank.v1 import policy_service_pb2_grpc


class Policies(policy_service_pb2_grpc.PolicyServiceServicer):
    """Knows two, of which the first is active, and activates whatever it is asked to."""

    def __init__(self) -> None:
        self.requests: list[pb.ActivatePolicyRequest] = []
        self.known = [
            policy_to_pb(Policy(version=3)),
            policy_to_pb(Policy("binpack", 0, "binpack")),
        ]

    def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: grpc.ServicerContext
    ) -> pb.ListPoliciesResponse:
        return pb.ListPoliciesResponse(policies=self.known)

    def GetPolicyStatus(
        self, request: pb.GetPolicyStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetPolicyStatusResponse:
        return pb.GetPolicyStatusResponse(policy=self.known[0], activated_at_sequence=7)

    def ActivatePolicy(
        self, request: pb.ActivatePolicyRequest, context: grpc.ServicerContext
    ) -> pb.ActivatePolicyResponse:
        self.requests.append(request)
        policy = self.known[1] if request.name else request.policy
        policy.version = 4
        return pb.ActivatePolicyResponse(policy=policy, activated_at_sequence=9)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Policies]:
    policies = Policies()
    running = grpc.server(ThreadPoolExecutor(2))
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(policies, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield policies
    running.stop(None).wait()


def test_the_active_one_is_listed_first(
    server: Policies, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["NAME", "ACTIVE", "VERSION", "STRATEGY"]
    assert lines[1][:4] == ["balanced", "yes", "3", "balanced"]
    assert lines[2][:4] == ["binpack", "no", "0", "binpack"]


def test_what_is_shown_can_be_edited_and_activated(
    server: Policies, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["policy", "show", "balanced"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    content["name"] = "mine"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    assert run(["policy", "activate", "-f", str(file)]) == 0
    assert capsys.readouterr().out == "mine@4 is active from log sequence 9\n"
    (request,) = server.requests
    assert request.policy.name == "mine"
    assert request.policy.lost_after_ms == 30_000
    assert request.request_id


def test_a_known_one_goes_by_its_name(server: Policies, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "activate", "binpack", "--dry-run", "--request-id", "one"]) == 0
    assert capsys.readouterr().out == "binpack can be activated\n"
    (request,) = server.requests
    assert (request.name, request.request_id, request.validate_only) == ("binpack", "one", True)


def test_the_status_says_since_when(server: Policies, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "status", "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "balanced"
    assert captured.err == "active from log sequence 7\n"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["show", "nope"], 1, "there is no policy nope"),
        (["activate"], 64, "either a known policy's name or a file"),
        (["activate", "binpack", "-f", "x.yaml"], 64, "either a known policy's name or a file"),
        (["activate", "-f", "none.yaml"], 1, "none.yaml: No such file"),
    ],
)
def test_mistakes(
    server: Policies,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    assert run(["policy", *arguments]) == code
    assert complaint in capsys.readouterr().err
    assert not server.requests


def test_a_file_that_is_no_policy(
    server: Policies, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: mine\nstrength: 3\n")
    assert run(["policy", "activate", "-f", str(file)]) == 1
    assert "strength" in capsys.readouterr().err
    assert not server.requests
