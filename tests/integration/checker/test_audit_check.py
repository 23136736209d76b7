"""`fog audit check` over a log in a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from fogbank.cli.main import run
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, ensure_stream
from tests.support.checked_log import assert_log_keeps_the_rules, read_and_check
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import LittleLog, a_spec
from tests.support.nats import NatsServer, nats_server


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Generator[None]:
    """The command sets up the logging of its process; here that is the tests'."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def broker() -> Generator[NatsServer]:
    with nats_server() as server:
        yield server


def a_fleet() -> tuple[LittleFleet, str]:
    fleet = LittleFleet()
    for name in ("fog-0", "fog-1", "fog-2"):
        fleet.connect(name)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    return fleet, deployment_id


async def publish(url: str, log: LittleLog) -> None:
    name = StreamName()
    async with connect(url, "test") as connection:
        await ensure_stream(connection, name)
        for commit, data in zip(log.commits, log.data, strict=True):
            writer = Writer(commit.service, commit.instance)
            await JetStreamLog(connection, name, writer).append(data)


def test_a_clean_log(
    broker: NatsServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fleet, deployment_id = a_fleet()
    asyncio.run(publish(broker.url, fleet.log))
    record = tmp_path / "acknowledged.jsonl"
    promise = {"command": "create", "deployment_id": deployment_id, "replicas": 2, "end": "running"}
    record.write_text(json.dumps(promise) + "\n")
    arguments = ["audit", "check", "--nats-url", broker.url, "--acknowledged", str(record)]
    capsys.readouterr()
    assert run([*arguments, "--settled", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clean"] is True
    assert answer["counts"]["commits"] == fleet.log.sequence
    assert answer["counts"]["deployments"] == {"running": 1}
    assert assert_log_keeps_the_rules(broker.url, settled=True).counts.placements == 2


def test_a_log_that_breaks_a_rule(broker: NatsServer, capsys: pytest.CaptureFixture[str]) -> None:
    fleet, _ = a_fleet()
    replica_id = next(iter(fleet.planner.fleet.decisions.placements.values())).id
    for node_id in fleet.planner.fleet.facts.nodes:
        report = fleet.log.report(node_id, fleet.log.seen(replica_id, 8))  # type: ignore[arg-type]
        assert report.sequence
    asyncio.run(publish(broker.url, fleet.log))
    assert run(["audit", "check", "--nats-url", broker.url]) == 1
    answer = capsys.readouterr().out
    assert answer.count("runs-unplaced") == 2
    assert "2 violations" in answer
    assert run(["audit", "check", "--nats-url", broker.url, "-o", "name"]) == 1
    assert capsys.readouterr().out == "runs-unplaced\n"
    with pytest.raises(AssertionError, match="runs-unplaced"):
        assert_log_keeps_the_rules(broker.url)


def test_decisions_that_follow_from_the_log(
    broker: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, _ = a_fleet()
    asyncio.run(publish(broker.url, fleet.log))
    arguments = ["audit", "verify", "--decisions", "--nats-url", broker.url]
    capsys.readouterr()
    assert run([*arguments, "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clean"] is True
    assert answer["commits"] == fleet.log.sequence
    assert answer["rounds"] == {"same": 1, "different": 0, "unverifiable": 0, "void": 0}


def test_a_decision_that_does_not_follow(
    broker: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, _ = a_fleet()
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    forged = fleet.fold(fleet.log.round(replace(decided.event, raised=("nobody",))))
    fleet.deploy(a_spec())
    other = fleet.planner.decide(fleet.log.now_us)
    assert other is not None
    fleet.log.round(replace(other.event, engine=99))
    asyncio.run(publish(broker.url, fleet.log))
    arguments = ["audit", "verify", "--decisions", "--nats-url", broker.url]
    assert run(arguments) == 1
    answer = capsys.readouterr().out
    assert f"round at sequence {forged.sequence} comes out differently" in answer
    assert "raised[0]: derived nothing, logged 'nobody'" in answer
    assert "1 rounds of engine 99" in answer
    assert run([*arguments, "-o", "name"]) == 1
    assert capsys.readouterr().out == f"{forged.sequence}\n"


def test_a_missing_log_and_a_broken_record_are_said_plainly(
    broker: NatsServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["audit", "check", "--nats-url", broker.url]) == 1
    assert "cannot read the log" in capsys.readouterr().err
    assert run(["audit", "check", "--data-dir", str(tmp_path)]) == 1
    assert "no system was started" in capsys.readouterr().err
    record = tmp_path / "acknowledged.jsonl"
    record.write_text("{}\n")
    arguments = ["audit", "check", "--nats-url", broker.url, "--acknowledged", str(record)]
    assert run(arguments) == 64
    assert "line 1" in capsys.readouterr().err


def test_a_whole_log_is_read_in_batches(broker: NatsServer) -> None:
    fleet, _ = a_fleet()
    for _ in range(1_100):
        fleet.log.report(next(iter(fleet.planner.fleet.facts.nodes)))
    asyncio.run(publish(broker.url, fleet.log))
    assert read_and_check(broker.url).counts.commits == fleet.log.sequence
