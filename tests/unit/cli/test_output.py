"""Answers as tables, JSON, YAML and names."""

import json
from datetime import UTC, datetime

import pytest
import yaml
from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.cli.output import (
    Column,
    OutputFormat,
    as_text,
    counted,
    print_data,
    print_list,
)
from fogbank.cli.views import (
    age,
    amounts,
    deployment_detail,
    deployment_row,
    instant,
    node_row,
    replica_status,
    status_word,
)
from fogbank.v1 import deployments_pb2, nodes_pb2, resources_pb2

ROWS = [
    {"id": "1", "name": "web", "status": "running", "owner": "a"},
    {"id": "2", "name": "[red]api", "status": "failed", "owner": ""},
]
COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("STATUS", "status"),
    Column("OWNER", "owner", wide=True),
)


def show(output: OutputFormat) -> None:
    print_list(ROWS, COLUMNS, output, name_key="id", empty="nothing")


def test_a_table_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ID  NAME      STATUS", "1   web       running", "2   [red]api  failed"]


def test_a_narrow_terminal_loses_no_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = [{"id": "1" * 36, "name": "n" * 40, "status": "running"}]
    print_list(long, COLUMNS, OutputFormat.TABLE, name_key="id", empty="")
    text = capsys.readouterr().out
    assert "1" * 36 in text
    assert "n" * 40 in text
    assert len(text.splitlines()) == 2


def test_wide_has_more_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.WIDE)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][-1] == "OWNER"
    assert lines[2][-1] == "-"


def test_programs_get_data(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.JSON)
    assert json.loads(capsys.readouterr().out) == ROWS
    show(OutputFormat.YAML)
    assert yaml.safe_load(capsys.readouterr().out) == ROWS
    show(OutputFormat.NAME)
    assert capsys.readouterr().out == "1\n2\n"


def test_each_part_of_a_document_stands_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Such a part is made a file by copying its lines."""
    rules = {"replace": False}
    print_data({"rules": rules, "spec": {"rules": rules}}, OutputFormat.YAML)
    spec = capsys.readouterr().out.partition("spec:")[2]
    assert yaml.safe_load(spec) == {"rules": rules}


def test_an_empty_table_is_said_aside(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([], COLUMNS, OutputFormat.TABLE, name_key="id", empty="nothing here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing here\n")
    print_list([], COLUMNS, OutputFormat.JSON, name_key="id", empty="nothing here")
    assert capsys.readouterr().out == "[]\n"


def test_cells() -> None:
    assert [as_text(value) for value in (None, "", 0, True, 1.50, {}, {"a": 1}, [1, 2])] == [
        "-",
        "-",
        "0",
        "yes",
        "1.5",
        "-",
        "a=1",
        "1,2",
    ]
    assert (counted(1), counted(2)) == ("1 replica", "2 replicas")


def test_ages_have_one_unit() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert age("2026-01-01T23:59:30Z", now) == "30s"
    assert age("2026-01-01T23:00:00Z", now) == "1h"
    assert age("2025-12-01T00:00:00Z", now) == "32d"
    assert age("2026-01-02T00:00:05Z", now) == "0s", "clocks differ"
    assert age(None, now) == "-"


def test_words_of_the_rest_face() -> None:
    assert status_word(deployments_pb2.DEPLOYMENT_STATUS_UNSPECIFIED) == "none"
    assert status_word(deployments_pb2.DEPLOYMENT_STATUS_RUNNING) == "running"
    assert status_word(99) == "99", "a newer server's"
    assert replica_status(deployments_pb2.REPLICA_STATE_ASSIGNED) == "pending"
    assert replica_status(deployments_pb2.REPLICA_STATE_ORPHANED) == "stopped"
    assert replica_status(deployments_pb2.REPLICA_STATE_REJECTED) == "failed"
    assert replica_status(deployments_pb2.REPLICA_STATE_STARTING) == "starting"


def test_units_of_the_rest_face() -> None:
    asked = resources_pb2.Resources(
        cpu_millicores=1500, memory_mib=512, storage_gib=5, gpu_thousandths=1000
    )
    assert amounts(asked) == {
        "cpu_cores": 1.5,
        "memory_mb": 512,
        "gpu_units": 1,
        "storage_gb": 5,
    }
    assert instant(Timestamp(seconds=1)) == "1970-01-01T00:00:01.000Z"
    assert instant(Timestamp()) is None


def test_listings_say_what_only_pretends() -> None:
    node = nodes_pb2.Node(
        id="n1",
        name="edge",
        status=nodes_pb2.NODE_STATUS_ACTIVE,
        fingerprint=nodes_pb2.Fingerprint(
            runtime=nodes_pb2.RUNTIME_KIND_SIMULATED,
            allocatable=resources_pb2.Resources(cpu_millicores=4000),
            details=nodes_pb2.HostDetails(
                kernel_release="6.1", gpus=[nodes_pb2.Gpu(model="T4", memory_mib=15360)]
            ),
        ),
        booked=resources_pb2.Resources(cpu_millicores=1500),
    )
    row = node_row(node)
    assert row["runtime"] == "simulated"
    assert row["cpu"] == "1.5/4"
    assert row["gpu"] == "-"
    assert (row["kernel_release"], row["engine_name"]) == ("6.1", None)
    assert row["gpus"] == [{"model": "T4", "memory_mb": 15360}]
    deployment = deployments_pb2.Deployment(
        replicas=[
            deployments_pb2.Replica(node_id="n1", state=deployments_pb2.REPLICA_STATE_RUNNING),
            deployments_pb2.Replica(
                node_id="n1", state=deployments_pb2.REPLICA_STATE_RUNNING, unknown=True
            ),
        ]
    )
    replicas = deployment_detail(deployment, {"n1": "simulated"})["replicas"]
    assert [one["runtime"] for one in replicas] == ["simulated", "simulated"]
    assert [one["status"] for one in replicas] == ["running", "unknown"]


def test_available_nodes_are_there_when_the_server_says_so() -> None:
    deployment = deployments_pb2.Deployment()
    assert "available_nodes" not in deployment_detail(deployment, {})
    deployment.available_nodes = 0
    assert deployment_detail(deployment, {})["available_nodes"] == 0
    assert deployment_row(deployment)["priority"] is None
