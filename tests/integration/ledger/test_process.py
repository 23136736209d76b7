"""The ledger as a process: real broker, real database, killed while it projects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as pb_grpc
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import rows_of
from tests.support.nats import NatsServer, nats_server
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024**2

pytestmark = [pytest.mark.slow, pytest.mark.kill]


@pytest.fixture
def broker() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@contextmanager
def ledger_process(
    broker: NatsServer, url: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.ledger.main"],
        cwd=ROOT,
        env=os.environ
        | {
            "DATABASE_URL": url,
            "FOG_NATS_URL": broker.url,
            "FOG_NATS_MONITOR_URL": broker.monitor_url,
            "FOG_LOG_MAX_BYTES": str(64 * MIB),
            "FOG_GRPC_LISTEN": "127.0.0.1:0",
            "FOG_METRICS_LISTEN": "127.0.0.1:0",
            "FOG_LOG_FORMAT": "json",
        }
        | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    assert process.stdout is not None
    lines = []
    for text in process.stdout:
        lines.append(json.loads(text))
        if lines[-1]["event"] == event:
            return lines
    raise AssertionError(f"{event!r} never came: {lines}")


def ports(process: subprocess.Popen[str]) -> dict[str, int]:
    lines = until(process, "ready")
    return {line["protocol"]: line["port"] for line in lines if line["event"] == "listening"}


@asynccontextmanager
async def appending(broker: NatsServer, service: str) -> AsyncIterator[JetStreamLog]:
    async with connect(broker.url, service) as connection:
        await ensure_stream(connection, StreamName(), StreamSettings(max_bytes=64 * MIB))
        yield JetStreamLog(connection, StreamName(), Writer(service, "one"))


async def test_killed_over_and_over_it_misses_nothing(broker: NatsServer, url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for number in range(400):
        fleet.deploy(a_spec(f"app-{number:03}"))
    async with appending(broker, "gateway") as log:
        appended = 0
        for upto in (100, 250, 401):
            with ledger_process(broker, url) as process:
                until(process, "listening")
                while appended < upto:
                    await log.append(fleet.log.data[appended])
                    appended += 1
                process.send_signal(signal.SIGKILL)
                process.wait()
    with ledger_process(broker, url) as process:
        listening = ports(process)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listening['grpc']}") as channel:
            stub: pb_grpc.LedgerQueryServiceAsyncStub = pb_grpc.LedgerQueryServiceStub(channel)
            answer = await stub.QueryDeployments(
                pb.QueryDeploymentsRequest(limit=1_000, min_sequence=401), timeout=60
            )
            assert len({found.spec.name for found in answer.deployments}) == 400
            assert answer.as_of_sequence == 401
        metrics = httpx2.get(
            f"http://127.0.0.1:{listening['metrics']}/metrics", trust_env=False
        ).text
        assert "fog_ledger_position 401.0" in metrics
        assert "fog_ledger_lag_events 0.0" in metrics
        assert 'fog_replicas{state="pending"} 400.0' in metrics
        assert 'fog_nodes{status="idle"} 1.0' in metrics
        process.send_signal(signal.SIGTERM)
        assert until(process, "stopped")
        assert process.wait(timeout=60) == 0
    kept = await rows_of(url, "SELECT data FROM commits ORDER BY sequence")
    assert [row["data"] for row in kept] == fleet.log.data


async def test_it_says_when_the_broker_is_gone_and_comes_back(broker: NatsServer, url: str) -> None:
    with ledger_process(broker, url) as process:
        port = ports(process)["grpc"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            async def answers(status: str) -> bool:
                reply = await health.Check(health_pb2.HealthCheckRequest())
                return bool(
                    reply.status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
                )

            await eventually(lambda: answers("SERVING"))
            broker.kill()
            await eventually(lambda: answers("NOT_SERVING"), timeout_s=120)
            broker.start()
            await eventually(lambda: answers("SERVING"), timeout_s=120)
            fleet = LittleFleet()
            fleet.connect("fog-0")
            async with appending(broker, "gateway") as log:
                await log.append(fleet.log.data[0])
            stub: pb_grpc.LedgerQueryServiceAsyncStub = pb_grpc.LedgerQueryServiceStub(channel)
            answer = await stub.QueryNodes(
                pb.QueryNodesRequest(limit=10, min_sequence=1), timeout=60
            )
            assert [node.name for node in answer.nodes] == ["fog-0"]


async def test_an_unreadable_commit_ends_it_with_a_message(
    broker: NatsServer, postgres: PostgresServer, url: str
) -> None:
    async with appending(broker, "gateway") as log:
        await log.append(b"\xff\xff")
        with ledger_process(broker, url) as process:
            died = until(process, "service failed")[-1]
            assert process.wait(timeout=60) == 1
    assert "commit 1 cannot be decoded" in died["error"]


async def test_rows_of_another_release_are_built_again_at_the_start(
    broker: NatsServer, url: str
) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    fleet.deploy(a_spec("app"))
    async with appending(broker, "gateway") as log:
        for data in fleet.log.data:
            await log.append(data)
    with ledger_process(broker, url) as process:
        until(process, "ready")
    await rows_of(url, "UPDATE checkpoint SET projection = 0")
    await rows_of(url, "UPDATE deployments SET name = 'as a former release had it'")
    with ledger_process(broker, url) as process:
        said = [line["event"] for line in until(process, "ready")]
    assert "The tables were built again" in said
    ((name,),) = await rows_of(url, "SELECT name FROM deployments")
    assert name == "app"
