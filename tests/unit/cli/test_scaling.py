"""`fog scale`: how many replicas there may be is for the gateway to say."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc

WEB = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"
TOLD = "replicas must be between 1 and 2000, got 3000"


class Deployments(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Refuses to scale, and remembers to what."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def ScaleDeployment(
        self, request: pb.ScaleDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.ScaleDeploymentResponse:
        self.asked.append(request.replicas)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOLD)
        raise AssertionError("abort raises")


@pytest.fixture
def deployments(monkeypatch: pytest.MonkeyPatch) -> Generator[Deployments]:
    deployments = Deployments()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(1))
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, running)
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield deployments
    running.stop(None).wait()


def test_any_number_is_asked_for_and_the_gateways_bounds_are_told(
    deployments: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scale", WEB, "3000"]) != 0
    assert deployments.asked == [3000]
    assert TOLD in capsys.readouterr().err


def test_none_at_all_is_not_asked_for(
    deployments: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scale", WEB, "0"]) != 0
    assert deployments.asked == []
    assert "greater than or equal to 1" in capsys.readouterr().err
