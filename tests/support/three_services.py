"""Ledger, gateway and scheduler as processes on a broker and a database of the test's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
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
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fogbank.codec.values import spec_to_pb
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import (
    deployment_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
)
from tests.support.fleet_log import a_spec
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
AGENT_TOKEN = "agents-" + "t" * 32
_PASSWORD = "correct horse"
SERVICES = ("ledger", "gateway", "scheduler")
_SERVING = health_pb2.HealthCheckResponse.SERVING


class ThreeServices:
    """The processes, started and stopped together; each start's output goes to files of its own."""

    def __init__(self, broker: NatsServer, database_url: str, folder: Path) -> None:
        self.broker = broker
        self.database_url = database_url
        self._folder = folder
        self._starts = 0
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._outputs: dict[str, Path] = {}
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in (*SERVICES, "http")}

    def _environment(self, service: str) -> dict[str, str]:
        return os.environ | {
            "DATABASE_URL": self.database_url,
            "FOG_NATS_URL": self.broker.url,
            "FOG_NATS_MONITOR_URL": self.broker.monitor_url,
            "FOG_LOG_MAX_BYTES": str(64 * 1024**2),
            "FOG_LOG_FORMAT": "json",
            "FOG_INSTANCE": f"{service}-1",
            "FOG_GRPC_LISTEN": self.addresses[service],
            "FOG_HTTP_LISTEN": self.addresses["http"],
            "FOG_METRICS_LISTEN": "127.0.0.1:0",
            "FOG_LEDGER_ADDR": self.addresses["ledger"],
            "FOG_SCHEDULER_ADDR": self.addresses["scheduler"],
            "FOG_SERVICE_TOKEN": "service-" + "t" * 32,
            "FOG_AGENT_TOKEN": AGENT_TOKEN,
            "FOG_ADMIN_PASSWORD": _PASSWORD,
            "FOG_SEALING_KEY": "fedcba9876543210fedcba9876543210",
            "JWT_SECRET": "0123456789abcdef0123456789abcdef",
        }

    async def restore(self, *flags: str) -> list[dict[str, Any]]:
        """Let the log be restored, and return what that says."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.ledger.main", "restore", *flags),
            cwd=ROOT,
            env=self._environment("ledger"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        said = [json.loads(line) for line in output.splitlines()]
        assert ("report" in said[-1]) is (process.returncode == 0), said
        return said

    def start(self, *services: str) -> None:
        """Start some, or all, without waiting."""
        self._starts += 1
        for service in services or SERVICES:
            path = self._outputs[service] = self._folder / f"{service}-{self._starts}.log"
            with path.open("wb") as output:
                self._running[service] = subprocess.Popen(
                    [sys.executable, "-m", f"services.{service}.main"],
                    cwd=ROOT,
                    env=self._environment(service),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

    async def restart(self, service: str) -> None:
        """End one by force, start it again and wait until all serve."""
        self._running[service].kill()
        await self.ended(service)
        self.start(service)
        await self.ready()

    def start_again(self) -> None:
        """Start those that ended by themselves, as a supervisor does."""
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        if ended:
            self.start(*ended)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run."""
        return {service: process.pid for service, process in self._running.items()}

    async def stop(self) -> None:
        """End those that run in good order."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for service in tuple(self._running):
            await self.ended(service)

    async def ended(self, service: str) -> int:
        """Wait for a process's end and return its exit code."""
        return await asyncio.to_thread(self._running.pop(service).wait, 120)

    def kill(self) -> None:
        """End them by force."""
        while self._running:
            _, process = self._running.popitem()
            process.kill()
            process.wait()

    def said(self, service: str) -> list[dict[str, Any]]:
        """Return the lines that a service wrote since its last start."""
        text = self._outputs[service].read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def complaints(self, service: str, *levels: str) -> list[str]:
        """Return the reasons of what a service said at these levels, else at CRITICAL."""
        wanted = levels or ("critical",)
        return [
            str(line.get("error"))
            for line in self.said(service)
            if str(line["level"]).lower() in wanted
        ]

    def alive(self) -> bool:
        """Tell whether all that were started still run."""
        return all(process.poll() is None for process in self._running.values())

    async def serving(self, service: str) -> bool:
        """Tell what a service's health says."""
        async with grpc.aio.insecure_channel(
            self.addresses[service], options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == _SERVING)

    async def ready(self) -> None:
        """Wait until all serve."""
        for service in SERVICES:

            async def well(service: str = service) -> bool:
                assert self.alive(), {name: self.complaints(name) for name in SERVICES}
                return await self.serving(service)

            await eventually(well, 180, what=f"the {service}'s readiness")

    async def readiness(self) -> tuple[int, str]:
        """Return what the gateway's /readiness says."""
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.get(f"http://{self.addresses['http']}/readiness")
        return answer.status_code, answer.text

    @asynccontextmanager
    async def log(self) -> AsyncIterator[JetStreamLog]:
        """Open the log to look at it."""
        async with connect(self.broker.url, "test") as connection:
            yield JetStreamLog(connection, StreamName(), Writer("gateway", "test"))

    @asynccontextmanager
    async def user(self) -> AsyncIterator[User]:
        """Sign in as the administrator."""
        async with grpc.aio.insecure_channel(
            self.addresses["gateway"], options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            request = identity_service_pb2.LoginRequest(username="admin", password=_PASSWORD)
            stub: Any = identity_service_pb2_grpc.IdentityServiceStub(channel)
            token = (await stub.Login(request, timeout=60)).tokens.access_token
            yield User(channel, token)

    @property
    def store(self) -> Path:
        """Where the broker keeps its log."""
        return self.broker.folder / "jetstream"

    def save(self, name: str) -> Path:
        """Copy the stopped broker's store aside."""
        copy = self._folder / name
        shutil.copytree(self.store, copy)
        return copy

    def put(self, copy: Path | None) -> None:
        """Put another store into the stopped broker's place; None for none at all."""
        shutil.rmtree(self.store, ignore_errors=True)
        if copy is not None:
            shutil.copytree(copy, self.store)


class User:
    """A signed-in user of the gateway."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self._stub: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {token}"),)

    async def deploy(self, name: str) -> str:
        """Deploy something and return its id once it is acknowledged."""
        request = pb.CreateDeploymentRequest(request_id=name, spec=spec_to_pb(a_spec(name)))
        answer = await self._stub.CreateDeployment(request, metadata=self.metadata, timeout=60)
        return str(answer.deployment.id)

    async def deploy_many(self, prefix: str, count: int) -> set[str]:
        """Deploy many at once."""
        names = [f"{prefix}-{number}" for number in range(count)]
        return set(await asyncio.gather(*map(self.deploy, names)))

    async def deployed(self) -> set[str]:
        """Return the ids of all deployments."""
        request = pb.ListDeploymentsRequest(page_size=1_000)
        answer = await self._stub.ListDeployments(request, metadata=self.metadata, timeout=60)
        return {deployment.id for deployment in answer.deployments}


@contextmanager
def three_services(broker: NatsServer, database_url: str, folder: Path) -> Iterator[ThreeServices]:
    """Hold the processes, none of them started yet, and end them with the context."""
    services = ThreeServices(broker, database_url, folder)
    try:
        yield services
    finally:
        services.kill()
