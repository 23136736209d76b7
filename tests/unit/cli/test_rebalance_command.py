"""`fog rebalance`: what it shows, asks for and waits for."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fogbank.cli.main import run
from fogbank.v1 import node_service_pb2 as pb
from fogbank.v1 import node_service_pb2_grpc

ID = "0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    """Plans one move, and is over with it at the second look."""

    def __init__(self) -> None:
        self.applied: list[pb.ApplyRebalanceRequest] = []
        self.planned: list[pb.PlanRebalanceRequest] = []
        self.looks = 0
        self.plan = pb.PlanRebalanceResponse(
            moves=[
                pb.RebalanceMove(
                    deployment_id=ID,
                    deployment_name="web",
                    replica_id=ID,
                    from_node_name="fog-1",
                    to_node_name="fog-2",
                    score_before=870,
                    score_after=950,
                    gain=140,
                )
            ],
            replicas=4,
            worth_before=3480,
            worth_after=3620,
            complete=True,
        )

    def PlanRebalance(
        self, request: pb.PlanRebalanceRequest, context: grpc.ServicerContext
    ) -> pb.PlanRebalanceResponse:
        self.planned.append(request)
        return self.plan

    def ApplyRebalance(
        self, request: pb.ApplyRebalanceRequest, context: grpc.ServicerContext
    ) -> pb.ApplyRebalanceResponse:
        self.applied.append(request)
        return pb.ApplyRebalanceResponse(rebalance=self._state())

    def GetRebalance(
        self, request: pb.GetRebalanceRequest, context: grpc.ServicerContext
    ) -> pb.GetRebalanceResponse:
        self.looks += 1
        return pb.GetRebalanceResponse(rebalance=self._state())

    def _state(self) -> pb.Rebalance:
        if self.looks < 2:
            phase, message = pb.REBALANCE_PHASE_MOVING, "1 of at most 100 replicas moved"
        else:
            phase, message = pb.REBALANCE_PHASE_ENDED, "no move gains 10 or more points"
        moving = int(self.looks < 2)
        return pb.Rebalance(phase=phase, moved=1, moving=moving, gained=140, message=message)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Nodes]:
    nodes = Nodes()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(nodes, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield nodes
    running.stop(None).wait()


def test_the_plan_is_shown_and_nothing_is_done(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rebalance", "--budget", "7", "--min-gain", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "SLOT", "FROM", "TO", "SCORE", "THERE", "GAIN"]
    assert lines[1].split() == ["web", "0", "fog-1", "fog-2", "870", "950", "140"]
    assert lines[3] == (
        "4 replicas worth 870.0 of 1000 points on average now, "
        "905.0 of 1000 points on average after 1 move"
    )
    (asked,) = server.planned
    assert (asked.terms.budget, asked.terms.min_gain, asked.terms.at_once) == (7, 20, 10)
    assert not server.applied


def test_as_json(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rebalance", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["moves"][0]["gain"] == 140
    assert (told["worth_before"], told["worth_after"]) == (3480, 3620)


def test_applied_and_waited_for(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rebalance", "--apply", "--yes", "--wait", "--request-id", "one"]) == 0
    (applied,) = server.applied
    assert applied.request_id == "one"
    assert applied.terms.budget == 100
    out = capsys.readouterr().out
    assert "ended: no move gains 10 or more points" in out
    assert "1 replica moved, of them 0 waiting for their successors; 140 points gained" in out


def test_nobody_is_moved_without_a_yes(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rebalance", "--apply"]) == 64
    assert "give --yes" in capsys.readouterr().err
    assert not server.applied


def test_where_nothing_is_to_be_gained_nothing_is_asked_for(
    server: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = pb.PlanRebalanceResponse(replicas=4, worth_before=3480, worth_after=3480)
    assert run(["rebalance", "--apply", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("nothing to move: 4 replicas worth 870.0 of 1000")
    assert not server.applied


def test_stopped_and_looked_at(server: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rebalance", "--stop"]) == 0
    (applied,) = server.applied
    assert applied.terms.HasField("budget")
    assert applied.terms.budget == 0
    assert run(["rebalance", "--status", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out.split("--wait\n")[1])["moved"] == 1
    assert run(["rebalance", "--stop", "--status"]) == 64
