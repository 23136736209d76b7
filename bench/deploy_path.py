"""The way of a deployment through the whole system: how soon it is accepted, how soon it runs.

A real `fog up` with simulated nodes that beat all the while. Floors measured in the same run:

- echo: unary calls a second of a bare grpc.aio server that gives back what it got, same client,
  as many in flight;
- synced appends: a second, one after the other, of 300 bytes to a file on the same disk;
- page: how long the gateway takes for GET /livez with as many at once.

Measured: 50 submissions at once over REST (until the 202, until RUNNING was seen on a watch), and
how many deployments a second are accepted over gRPC, by unary calls, in batches and by the stream.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc
import httpx2

from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    deployments_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
    resources_pb2,
)
from tests.support.echo_server import METHOD
from tests.support.fog_up import ROOT, FogUp, fog_up

AT_ONCE = 50
IN_FLIGHT = 64
BATCH = 100
BATCHES_IN_FLIGHT = 4
PAYLOAD = b"x" * 300
RUNNING = deployments_pb2.DEPLOYMENT_STATUS_RUNNING
LONGEST_WAIT_S = 120.0


class Client:
    """The first user of a system, over gRPC and REST."""

    def __init__(self, channel: grpc.aio.Channel, http: httpx2.AsyncClient, token: str) -> None:
        # The stub's kind for grpc.aio is known to type checkers alone.
        self.stub: deployment_service_pb2_grpc.DeploymentServiceAsyncStub = (
            deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        )
        self.http = http
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.running_at_s: dict[str, float] = {}
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Note when each deployment is seen to run."""
        request = deployment_service_pb2.WatchDeploymentsRequest()
        async for message in self.stub.WatchDeployments(request, metadata=self.metadata):
            if message.change.new_status == RUNNING:
                async with self._news:
                    self.running_at_s[message.deployment_id] = time.perf_counter()
                    self._news.notify_all()

    async def all_run(self, ids: set[str]) -> None:
        """Wait until all these were seen to run."""
        async with asyncio.timeout(LONGEST_WAIT_S), self._news:
            await self._news.wait_for(lambda: ids <= self.running_at_s.keys())


@asynccontextmanager
async def a_client(system: FogUp) -> AsyncIterator[Client]:
    state = system.state
    async with (
        grpc.aio.insecure_channel(state["grpc"]) as channel,
        httpx2.AsyncClient(
            base_url=state["http"], limits=httpx2.Limits(max_connections=AT_ONCE), timeout=30
        ) as http,
    ):
        identity: identity_service_pb2_grpc.IdentityServiceAsyncStub = (
            identity_service_pb2_grpc.IdentityServiceStub(channel)
        )
        answer = await identity.Login(
            identity_service_pb2.LoginRequest(
                username=state["admin_user"], password=state["admin_password"]
            )
        )
        token = answer.tokens.access_token
        http.headers["Authorization"] = f"Bearer {token}"
        client = Client(channel, http, token)
        watching = asyncio.create_task(client.watch())
        try:
            yield client
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def timed_ms(call: Callable[[], Awaitable[object]]) -> float:
    began_s = time.perf_counter()
    await call()
    return (time.perf_counter() - began_s) * 1000


async def rest_burst(client: Client) -> None:
    """50 at once: the time to the 202 and the time to RUNNING."""

    async def page() -> None:
        (await client.http.get("/livez")).raise_for_status()

    began_s: dict[str, float] = {}

    async def submit(number: int) -> float:
        body = {
            "name": f"burst-{number}",
            "type": "compute",
            "container_image": "nginx:1.24",
            "replicas": 1,
            "resources": {"cpu": 0.5, "memory": 512, "storage": 1},
        }
        start_s = time.perf_counter()
        answer = await client.http.post("/api/deployment/deploy", json=body)
        took_ms = (time.perf_counter() - start_s) * 1000
        assert answer.status_code == 202, answer.text
        began_s[answer.json()["deployment_id"]] = start_s
        return took_ms

    await asyncio.gather(*(page() for _ in range(AT_ONCE)))  # open the connections
    floor_ms = percentile(await asyncio.gather(*(timed_ms(page) for _ in range(AT_ONCE))), 0.95)
    accepted_ms = list(await asyncio.gather(*(submit(number) for number in range(AT_ONCE))))
    await client.all_run(set(began_s))
    running_ms = [(client.running_at_s[one] - start) * 1000 for one, start in began_s.items()]
    p95 = percentile(accepted_ms, 0.95)
    print(
        f"REST, {AT_ONCE} at once   202: p50 {percentile(accepted_ms, 0.5):.0f} ms  "
        f"p95 {p95:.0f} ms  (page p95 {floor_ms:.0f} ms, ratio {p95 / floor_ms:.1f})   "
        f"RUNNING: p50 {percentile(running_ms, 0.5):.0f} ms  "
        f"p95 {percentile(running_ms, 0.95):.0f} ms"
    )


def a_request() -> deployment_service_pb2.CreateDeploymentRequest:
    return deployment_service_pb2.CreateDeploymentRequest(
        request_id=str(uuid4()),
        spec=deployments_pb2.DeploymentSpec(
            name="small",
            type=deployments_pb2.SERVICE_TYPE_COMPUTE,
            container_image="nginx:1.24",
            replicas=1,
            resources=resources_pb2.Resources(cpu_millicores=1, memory_mib=1),
        ),
    )


async def rate(count: int, in_flight: int, call: Callable[[], Awaitable[int]]) -> float:
    """Return units a second of calls that return how many units they did."""
    done = 0

    async def work() -> None:
        nonlocal done
        while done < count:
            units = await call()  # apart from the sum, which others change meanwhile
            done += units

    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return done / (time.perf_counter() - began_s)


async def unary_rate(client: Client, count: int, ids: set[str]) -> float:
    async def call() -> int:
        answer = await client.stub.CreateDeployment(a_request(), metadata=client.metadata)
        ids.add(answer.deployment.id)
        return 1

    return await rate(count, IN_FLIGHT, call)


def note(outcomes: list[deployment_service_pb2.CreateOutcome], ids: set[str]) -> int:
    for outcome in outcomes:
        assert not outcome.error_reason, outcome.error_message
        ids.add(outcome.deployment_id)
    return len(outcomes)


async def batch_rate(client: Client, count: int, ids: set[str]) -> float:
    async def call() -> int:
        answer = await client.stub.CreateDeployments(
            deployment_service_pb2.CreateDeploymentsRequest(
                requests=[a_request() for _ in range(BATCH)]
            ),
            metadata=client.metadata,
        )
        return note(list(answer.outcomes), ids)

    return await rate(count, BATCHES_IN_FLIGHT, call)


async def stream_rate(client: Client, count: int, ids: set[str]) -> float:
    room = asyncio.Semaphore(BATCHES_IN_FLIGHT)

    async def requests() -> AsyncIterator[deployment_service_pb2.SubmitDeploymentsRequest]:
        for _ in range(0, count, BATCH):
            await room.acquire()
            yield deployment_service_pb2.SubmitDeploymentsRequest(
                requests=[a_request() for _ in range(BATCH)]
            )

    began_s = time.perf_counter()
    done = 0
    async for answer in client.stub.SubmitDeployments(requests(), metadata=client.metadata):
        done += note(list(answer.outcomes), ids)
        room.release()
    return done / (time.perf_counter() - began_s)


async def echo_rate(count: int) -> float:
    """Unary calls a second of a bare server in a process of its own."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.echo_server"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        async def call() -> int:
            await echo(PAYLOAD)
            return 1

        await rate(count // 10, IN_FLIGHT, call)
        reached = await rate(count, IN_FLIGHT, call)
    server.stdin.close()
    await server.wait()
    return reached


def synced_append_rate(folder: str, count: int = 500) -> float:
    """Appends a second, each on disk before the next."""
    with tempfile.TemporaryFile(dir=folder) as file:
        began_s = time.perf_counter()
        for _ in range(count):
            os.write(file.fileno(), PAYLOAD)
            os.fdatasync(file.fileno())
        return count / (time.perf_counter() - began_s)


async def measure(system: FogUp, count: int) -> None:
    appends = synced_append_rate(str(system.data_dir))
    echo = await echo_rate(count)
    print(f"floors   echo {echo:,.0f}/s   synced appends {appends:,.0f}/s")
    async with a_client(system) as client:
        await rest_burst(client)
        measures: tuple[tuple[str, Callable[[Client, int, set[str]], Awaitable[float]]], ...] = (
            ("unary", unary_rate),
            ("batch", batch_rate),
            ("stream", stream_rate),
        )
        for name, measured in measures:
            ids: set[str] = set()
            began_s = time.perf_counter()
            accepted = await measured(client, count, ids)
            await client.all_run(ids)
            drained = len(ids) / (time.perf_counter() - began_s)
            print(
                f"gRPC {name:<7} {accepted:>7,.0f} accepted/s   echo ratio {accepted / echo:.2f}   "
                f"appends ratio {accepted / appends:.2f}   {drained:>7,.0f} to RUNNING/s",
                flush=True,
            )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--count", type=int, default=2_000)
    given = parser.parse_args(arguments)
    # One user asks for all; what one may ask for is not measured here.
    unlimited = {"FOG_REQUESTS_PER_SECOND": "1000000", "FOG_MAX_PENDING_SHARE": "1"}
    with fog_up("--nodes", str(given.nodes), env=unlimited) as system:
        print(f"{given.nodes} simulated nodes, {given.count} deployments each way")
        asyncio.run(measure(system, given.count))


if __name__ == "__main__":
    main()
