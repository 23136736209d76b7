"""The gateway as a process: real broker, real database; killed, stopped, refusing to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    deployment_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
)
from fogbank.v1 import deployment_service_pb2 as pb
from tests.support.fleet_log import a_spec
from tests.support.nats import NatsServer, nats_server
from tests.support.postgres import PostgresServer
from tests.support.scripted_agent import StreamEndedError, scripted_agent
from tests.support.second_copy import StubLedger, stub_ledger
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
AGENT_TOKEN = "agents-" + "t" * 32
PASSWORD = "correct horse"

pytestmark = [pytest.mark.slow, pytest.mark.kill]


@pytest.fixture
def broker() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.database() as found:
        yield found


@pytest.fixture
async def ledger() -> AsyncIterator[StubLedger]:
    async with stub_ledger() as found:
        yield found


def settings(broker: NatsServer, url: str, ledger: StubLedger) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "FOG_NATS_URL": broker.url,
        "FOG_NATS_MONITOR_URL": broker.monitor_url,
        "FOG_LOG_MAX_BYTES": str(64 * 1024**2),
        "FOG_GRPC_LISTEN": "127.0.0.1:0",
        "FOG_HTTP_LISTEN": "127.0.0.1:0",
        "FOG_METRICS_LISTEN": "127.0.0.1:0",
        "FOG_LEDGER_ADDR": ledger.address,
        "FOG_SCHEDULER_ADDR": "127.0.0.1:1",
        "FOG_LOG_FORMAT": "json",
        "JWT_SECRET": "0123456789abcdef0123456789abcdef",
        "FOG_AGENT_TOKEN": AGENT_TOKEN,
        "FOG_SEALING_KEY": "fedcba9876543210fedcba9876543210",
        "FOG_ADMIN_PASSWORD": PASSWORD,
    }


@dataclass
class GatewayProcess:
    """A process whose output goes to a file, which takes more than a pipe."""

    popen: subprocess.Popen[bytes]
    output: Path

    async def grpc_port(self) -> int:
        """Wait until it is ready, and return where it listens."""
        return await self.port("grpc")

    async def port(self, protocol: str) -> int:
        """Wait until it is ready, and return where it listens for a protocol."""
        lines = await eventually(self._lines_to_ready, timeout_s=60, what="the gateway's start")
        assert lines is not None
        (port,) = [line["port"] for line in lines if line.get("protocol") == protocol]
        assert isinstance(port, int)
        return port

    def _lines_to_ready(self) -> list[dict[str, Any]] | None:
        text = self.output.read_text()
        assert self.popen.poll() is None, text
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return lines if any(line["event"] == "ready" for line in lines) else None

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and all it printed."""
        code = await asyncio.to_thread(self.popen.wait, 30)
        return code, self.output.read_text()


@contextmanager
def gateway_process(environment: dict[str, str], folder: Path) -> Iterator[GatewayProcess]:
    path = folder / f"gateway-{len(list(folder.iterdir()))}.log"
    with path.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "services.gateway.main"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield GatewayProcess(popen, path)
        finally:
            popen.kill()
            popen.wait()


async def sign_in(channel: grpc.aio.Channel) -> tuple[tuple[str, str], ...]:
    request = identity_service_pb2.LoginRequest(username="admin", password=PASSWORD)
    stub: Any = identity_service_pb2_grpc.IdentityServiceStub(channel)
    answer = await stub.Login(request)
    return (("authorization", f"Bearer {answer.tokens.access_token}"),)


async def test_killed_while_it_accepts_it_loses_nothing(
    broker: NatsServer, url: str, ledger: StubLedger, tmp_path: Path
) -> None:
    environment = settings(broker, url, ledger)
    acknowledged: dict[str, str] = {}

    async def submit(service: Any, metadata: Any, number: int) -> None:
        request = pb.CreateDeploymentRequest(
            request_id=f"r-{number}", spec=spec_to_pb(a_spec()), env={"A": str(number % 3)}
        )
        answer = await service.CreateDeployment(request, metadata=metadata)
        acknowledged[request.request_id] = answer.deployment.id

    with gateway_process(environment, tmp_path) as process:
        port = await process.grpc_port()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = await sign_in(channel)
            service: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
            calls = [asyncio.ensure_future(submit(service, metadata, n)) for n in range(300)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            process.popen.send_signal(signal.SIGKILL)
            await asyncio.gather(*calls, return_exceptions=True)
    before = dict(acknowledged)
    assert before

    with gateway_process(environment, tmp_path) as process:
        port = await process.grpc_port()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = await sign_in(channel)
            service = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
            await asyncio.gather(*(submit(service, metadata, n) for n in range(300)))
            audit: Any = audit_service_pb2_grpc.AuditServiceStub(channel)
            created = [
                event.envelope.event_id
                async for commit in audit.ReadEvents(
                    audit_service_pb2.ReadEventsRequest(types=["fogbank.v1.DeploymentCreated"]),
                    metadata=metadata,
                )
                for event in commit.events
            ]

    assert acknowledged.items() >= before.items()
    assert set(created) == set(acknowledged.values())
    assert len(created) == 300


async def test_it_stops_in_good_order(
    broker: NatsServer, url: str, ledger: StubLedger, tmp_path: Path
) -> None:
    with gateway_process(settings(broker, url, ledger), tmp_path) as process:
        port = await process.grpc_port()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            async with scripted_agent(channel, token=AGENT_TOKEN) as agent:
                await agent.shake_hands()
                process.popen.send_signal(signal.SIGTERM)
                await agent.next("drain")
                with pytest.raises(StreamEndedError) as ended:
                    await agent.next()
                assert ended.value.code is grpc.StatusCode.OK
        code, output = await process.ended()

    assert code == 0, output
    assert '"event": "stopped"' in output


async def test_an_outage_of_the_broker_passes(
    broker: NatsServer, url: str, ledger: StubLedger, tmp_path: Path
) -> None:
    with gateway_process(settings(broker, url, ledger), tmp_path) as process:
        port = await process.grpc_port()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = await sign_in(channel)
            service: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
            request = pb.CreateDeploymentRequest(request_id="r-1", spec=spec_to_pb(a_spec()))
            watch = service.WatchDeployments(
                pb.WatchDeploymentsRequest(after_sequence=1), metadata=metadata
            )
            async with scripted_agent(channel, token=AGENT_TOKEN) as agent:
                await agent.shake_hands()
                broker.kill()
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await service.CreateDeployment(request, metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                await says(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
                broker.start()
                await says(channel, health_pb2.HealthCheckResponse.SERVING)

                answer = await accepted_again(service, request, metadata)

                assert (await watch.read()).deployment_id == answer.deployment.id
                await agent.report()


async def says(channel: grpc.aio.Channel, status: int) -> None:
    """Wait until the health service says so."""
    health: Any = health_pb2_grpc.HealthStub(channel)

    async def said() -> bool:
        answer = await health.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == status)

    await eventually(said, timeout_s=60, what=f"health {status}")


async def accepted_again(
    service: Any, request: pb.CreateDeploymentRequest, metadata: Any
) -> pb.CreateDeploymentResponse:
    """Repeat a request until it is taken."""

    async def try_it() -> pb.CreateDeploymentResponse | None:
        try:
            answer: pb.CreateDeploymentResponse = await service.CreateDeployment(
                request, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return None
            raise
        return answer

    answer = await eventually(try_it, timeout_s=120, what="the gateway's recovery")
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"JWT_SECRET": "your-secret-key"}, "JWT_SECRET"),
        ({"FOG_SEALING_KEY": "short"}, "FOG_SEALING_KEY"),
    ],
)
async def test_it_refuses_to_start_with_bad_settings(
    broker: NatsServer,
    url: str,
    ledger: StubLedger,
    tmp_path: Path,
    changes: dict[str, str],
    complaint: str,
) -> None:
    with gateway_process(settings(broker, url, ledger) | changes, tmp_path) as process:
        code, output = await process.ended()

    assert code != 0
    assert complaint in output
    assert "Traceback" not in output
