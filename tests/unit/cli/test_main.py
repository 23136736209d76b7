"""How `fog` ends, and what it says then."""

import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from fogbank.cli import connection
from fogbank.cli.main import _VERBS, run
from fogbank.cli.session import Tokens, config_file, store_tokens
from fogbank.domain.errors import UnavailableError
from fogbank.runtime.grpc_errors import to_status
from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FOG_ADDR", "FOG_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FOG_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fog` ask those who are unavailable again for a moment only."""
    monkeypatch.setattr(connection, "PATIENCE_S", 0.1)


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Has none, and refuses to make one, as told."""

    status = status_pb2.Status()
    requests: list[Any]

    def __init__(self) -> None:
        self.requests = []

    def ListDeployments(
        self,
        request: deployment_service_pb2.ListDeploymentsRequest,
        context: grpc.ServicerContext,
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        return deployment_service_pb2.ListDeploymentsResponse()

    def CreateDeployment(
        self,
        request: deployment_service_pb2.CreateDeploymentRequest,
        context: grpc.ServicerContext,
    ) -> deployment_service_pb2.CreateDeploymentResponse:
        self.requests.append((request, dict(context.invocation_metadata())))
        context.abort_with_status(rpc_status.to_status(self.status))
        raise AssertionError("abort raises")


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    """Knows nobody."""

    def Login(
        self, request: identity_service_pb2.LoginRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.LoginResponse:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "Wrong username or password")
        raise AssertionError("abort raises")


class System(system_service_pb2_grpc.SystemServiceServicer):
    """Of a release of its own."""

    def GetVersion(
        self, request: system_service_pb2.GetVersionRequest, context: grpc.ServicerContext
    ) -> system_service_pb2.GetVersionResponse:
        return system_service_pb2.GetVersionResponse(version="7.8.9")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[Deployments]:
    deployments = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(
        Identity(),  # type: ignore[abstract]  # the other calls aren't made
        running,
    )
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield deployments
    running.stop(None).wait()


def refusal(code: int, message: str, *details: Any) -> status_pb2.Status:
    packed = []
    for detail in details:
        any_message = AnyMessage()
        any_message.Pack(detail)
        packed.append(any_message)
    return status_pb2.Status(code=code, message=message, details=packed)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope"], "No such command 'nope'"),
        (["ps", "--nope"], "No such option"),
        (["scale", "x"], "Missing argument"),
        (["scale", "x", "0"], "greater than or equal to 1"),
        (["scale", "x", "many"], "valid integer"),
        (["deploy", "x", "--memory", "1Gi"], "what it is: MiB for each replica."),
        (["scale", "x", "-1"], "-1: numbers here aren't negative"),
        (["nodes", "edge-1"], "fog nodes show NAME"),
        (["ps", "-o", "xml"], "'--output': 'xml' is not one of"),
        (["ps", "--status", "happy"], "--status happy: must be one of pending,"),
        (["deploy"], "say what to deploy"),
        (["deploy", "x"], "say which image to run"),
        (["deploy", "--image", "y"], "say what to call it"),
        (["deploy", "--name", "x"], "fog deploy NAME --image IMAGE"),
        (["deploy", "x", "--image", "y", "--type", "web"], "--type must be one of compute,"),
        (["deploy", "x", "--image", "y", "--env", "A"], "--env 'A' is not KEY=VALUE"),
        (["deploy", "x", "-f", "y.yaml"], "either a file or a name"),
        (["deploy", "-f", "none.yaml"], "cannot read none.yaml"),
        (["up", "--fleet", "a.yaml", "--nodes", "3"], "either --fleet or --nodes"),
        (["up", "--nodes", "0"], "nodes must be 1 to 10000, not 0"),
        (["up", "--fleet", "none.yaml"], "cannot read none.yaml"),
        (["up", "--grpc-port", "70000"], "65535"),
        (["login"], "--user"),
    ],
)
def test_usage_errors_end_with_64(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps", "--at", "9" * 5_000],
        ["events", "--after", "9" * 20],
        ["deploy", "x", "--image", "y", "--priority", "9" * 5_000],
        ["deploy", "x", "--image", "y", "--port", "9" * 5_000],
        ["deploy", "x", "--image", "y", "--cpu", "1e308"],
        ["deploy", "x", "--image", "y", "--replicas", "9" * 20],
        ["cluster", "status", "9" * 5_000],
        ["cluster", "quota", "1", "--memory", "9" * 20],
        ["nodes", "drain", "x", "--deadline", f"{'9' * 400}d"],
    ],
)
def test_numbers_that_nothing_can_carry_are_mistakes_of_who_typed_them(
    server: Deployments, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    assert capsys.readouterr().err == (
        "fog: a number is none, or larger than any that means something here\n"
    )
    assert server.requests == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("as_of: must be at most 9", "fog: --at: must be at most 9\n"),
        ("to_sequence: must be 1", "fog: --to: must be 1\n"),
        ("name: is too long", "fog: name: is too long\n"),
    ],
)
def test_what_the_server_refuses_goes_by_the_flag_it_was_given_by(
    server: Deployments, said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = refusal(code_pb2.INVALID_ARGUMENT, said)
    assert run(["deploy", "web", "--image", "nginx"]) == 1
    assert capsys.readouterr().err == shown


def test_without_a_server_it_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps"]) == 1
    assert "there is no system to talk to" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_a_server_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("FOG_TOKEN", "t")
    assert run(["ps"]) == 1
    error = capsys.readouterr().err
    assert "no answer from 127.0.0.1:1 (from FOG_ADDR)" in error
    assert "fog up" in error


@pytest.mark.usefixtures("impatient")
def test_of_a_login_to_a_system_that_is_gone_it_says_how_to_forget_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store_tokens(config_file(), "127.0.0.1:1", "alice", Tokens("access", "refresh", 10e9))
    assert run(["ps"]) == 1
    error = capsys.readouterr().err
    assert f"no answer from 127.0.0.1:1 (from {config_file()})" in error
    assert "`fog login` remembers it" in error
    assert f"forget it: rm {config_file()}" in error
    assert "FOG_ADDR" in error


@pytest.mark.usefixtures("impatient")
def test_a_host_that_nobody_knows_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_ADDR", "nowhere.invalid:1")
    monkeypatch.setenv("FOG_TOKEN", "t")
    assert run(["ps"]) == 1
    assert "no answer from nowhere.invalid:1 (from FOG_ADDR)" in capsys.readouterr().err


def test_a_wrong_password_is_not_answered_with_advice_to_sign_in(
    server: Deployments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.requests == []
    monkeypatch.setattr("sys.stdin", StringIO("wrong\n"))
    assert run(["login", "-u", "admin", "--password-stdin"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fog: Wrong username or password\n")
    assert "`fog up` prints" in error


@pytest.mark.usefixtures("impatient")
def test_an_answer_about_connections_is_no_missing_answer(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "its node is connected to no gateway"
    server.status = to_status(UnavailableError(why, reason="NODE_NOT_CONNECTED"))
    assert run(["deploy", "x", "--image", "y"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fog: {why}\n")
    assert "`fog nodes` shows whether it is online" in error


def test_refusals_come_with_the_fields_that_are_wrong(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field="spec.name", description="must not be empty")
    server.status = refusal(code_pb2.INVALID_ARGUMENT, "the request is wrong", bad_request)
    assert run(["deploy", "x", "--image", "y", "--env", "A=b"]) == 1
    error = capsys.readouterr().err
    assert "fog: the request is wrong" in error
    assert "     name: must not be empty" in error
    ((request, metadata),) = server.requests
    assert metadata["authorization"] == "Bearer the-token"
    assert request.env["A"] == "b"
    assert request.request_id


def test_amounts_out_of_bounds_are_told_as_they_were_given(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = refusal(
        code_pb2.INVALID_ARGUMENT,
        "spec.resources.cpu_millicores: must be between 1 and 1024000, got 0; "
        "spec.resources.memory_mib: must be between 1 and 16777216, got -1",
    )
    assert run(["deploy", "x", "--image", "y", "--cpu", "0"]) == 1
    assert capsys.readouterr().err == (
        "fog: cpu: must be between 0.001 and 1024 cores, got 0; "
        "memory: must be between 1 and 16777216 MiB, got -1\n"
    )


def test_fields_are_named_as_in_files_and_with_their_flags(
    server: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = refusal(
        code_pb2.INVALID_ARGUMENT,
        "spec.container.ports.number: must be between 1 and 65535, got 0; "
        "spec.name: must be printable, got 'spec.x'; "
        "spec.rollout.min_healthy_ms: must be at most 5, got 6; "
        "spec.constraints[0].values: must be one",
    )
    assert run(["deploy", "x", "--image", "y", "--port", "0"]) == 1
    assert capsys.readouterr().err == (
        "fog: container.ports.number (--port): must be between 1 and 65535, got 0; "
        "name: must be printable, got 'spec.x'; "
        "rollout.min_healthy_ms (--min-healthy): must be at most 5, got 6; "
        "constraints[0].values (--constraint): must be one\n"
    )
    server.status = refusal(code_pb2.INVALID_ARGUMENT, "to_revision: must be one of 1, 2, got 7")
    assert run(["deploy", "x", "--image", "y"]) == 1
    assert capsys.readouterr().err == "fog: --to: must be one of 1, 2, got 7\n"


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        (code_pb2.FAILED_PRECONDITION, "NO_EARLIER_REVISION", "`fog rollout undo --to` names one"),
        (code_pb2.FAILED_PRECONDITION, "ONLY_REVISION", "`fog update` makes another one of it"),
        (code_pb2.NOT_FOUND, "CLUSTER_NOT_FOUND", "unless --cluster says another"),
        (code_pb2.UNAUTHENTICATED, "", "fog login"),
        (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", "fog login"),
        (code_pb2.RESOURCE_EXHAUSTED, "RATE_LIMITED", "try again in a while"),
        (code_pb2.UNIMPLEMENTED, "", "doesn't have this yet"),
        (code_pb2.PERMISSION_DENIED, "ADMIN_ONLY", "as an administrator"),
        (code_pb2.NOT_FOUND, "DEPLOYMENT_NOT_FOUND", "`fog ps`"),
        (code_pb2.NOT_FOUND, "NODE_NOT_FOUND", "`fog nodes`"),
        (code_pb2.UNAVAILABLE, "NOT_READY", "`fog logs gateway`"),
        (code_pb2.UNAVAILABLE, "LEDGER_UNAVAILABLE", "`fog logs ledger`"),
        (code_pb2.UNAVAILABLE, "NODE_SILENT", "try again in a moment\n"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_refusals_come_with_advice(
    server: Deployments, capsys: pytest.CaptureFixture[str], code: int, reason: str, hint: str
) -> None:
    server.status = refusal(code, "No", *_because(reason))
    assert run(["deploy", "x", "--image", "y"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fog: No\n")
    assert hint in error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (code_pb2.PERMISSION_DENIED, "ROLE_LACKING"),
        (code_pb2.PERMISSION_DENIED, "SCOPE_LACKING"),
        (code_pb2.NOT_FOUND, "INVITE_NOT_FOUND"),
        (code_pb2.NOT_FOUND, "TOKEN_NOT_FOUND"),
        (code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_TOKENS"),
        (code_pb2.NOT_FOUND, "OF_A_LATER_RELEASE"),
    ],
)
def test_what_says_enough_comes_without_advice(
    server: Deployments, capsys: pytest.CaptureFixture[str], code: int, reason: str
) -> None:
    server.status = refusal(code, "No", *_because(reason))
    assert run(["deploy", "x", "--image", "y"]) == 1
    assert capsys.readouterr().err == "fog: No\n"


def _because(reason: str) -> list[error_details_pb2.ErrorInfo]:
    return [error_details_pb2.ErrorInfo(reason=reason, domain="fogbank")] if reason else []


def test_logs_without_a_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs"]) == 1
    assert "--data-dir" in capsys.readouterr().err


def test_logs_are_those_of_a_service_here_or_else_of_a_replica(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "data" / "logs" / "gateway-1.log").write_text("one\ntwo\n")
    assert run(["logs", "gateway", "-n", "1"]) == 0
    assert capsys.readouterr().out == "two\n"
    assert run(["logs", "my-deployment"]) == 1
    assert "there is no system to talk to" in capsys.readouterr().err
    assert run(["logs", "gateway", "--slot", "0"]) == 1
    assert "there is no system to talk to" in capsys.readouterr().err


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in ("up", "deploy", "ps", "status", "scale", "delete", "logs", "nodes", "events"):
        assert verb in text


def test_version_is_quick_because_it_imports_little() -> None:
    program = (
        "import sys; from fogbank.cli.main import run; assert run(['version']) == 0;"
        "heavy = {'grpc', 'pydantic', 'yaml', 'rich', 'google.protobuf', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    version, imported = result.stdout.splitlines()
    assert version.startswith("fog ")
    assert imported == "[]"


def test_version_tells_that_of_a_server_that_answers_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = grpc.server(ThreadPoolExecutor(1))
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(System(), running)
    address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    monkeypatch.setenv("FOG_ADDR", address)
    assert run(["version"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"server 7.8.9 at {address}"
    running.stop(None).wait()
    assert run(["version"]) == 0
    said = capsys.readouterr()
    assert (len(said.out.splitlines()), said.err) == (1, "")


def test_every_group_that_lists_does_so_by_both_names() -> None:
    groups = [(module, name) for module, name in _VERBS.values() if name == "app"]
    listing = set()
    for module, name in [*groups, ("token_commands", "app")]:
        made = typer.main.get_command(getattr(import_module(f"fogbank.cli.{module}"), name))
        verbs = getattr(made, "commands", {})
        assert ("list" in verbs) == ("ls" in verbs), module
        if "list" in verbs:
            listing.add(module)
    assert listing == {
        "api_token_commands",
        "cluster_commands",
        "node_commands",
        "organization_commands",
        "policy_commands",
        "token_commands",
    }


def test_completion_offers_verbs() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fogbank.cli.main"],
        env={"_FOG_COMPLETE": "complete_bash", "COMP_WORDS": "fog de", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert result.stdout.split() == ["deploy", "delete"]
