"""What followers of the event stream cost those who read: answers' times with and without them.

Ledger, gateway and scheduler with a broker and a database. Statuses are asked for at an even rate,
first while nobody follows (the baseline), then while 1,000 clients follow `/api/events`, half of
them as the administrator, half as who deploys. Meanwhile, in both, a deployment is made and
deleted again several times a second, so that every follower gets some messages each second.
Followers and readers are processes of their own, on the same cores as all the rest.

An answer's time runs from when it was due to be asked for, so that none that waits is left out.
Each follower must have got every commit after its first message, once and in order. The ratio is
the 99th percentile with followers to that without.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.support.nats import nats_server
from tests.support.postgres import postgres_server
from tests.support.rest_face import deploy_body
from tests.support.three_services import ThreeServices
from tests.support.waiting import eventually

FOLLOWERS = 1_000
CHANGES_PER_S = 2
MEASURED_S = 15.0
# Followers must have opened, and got the last message, within this.
PATIENCE_S = 120.0
_USER = {"username": "follower", "password": "correct horse battery"}
_CONNECTIONS = 32
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_LENGTH = re.compile(rb"content-length: (\d+)")


class Follower(asyncio.Protocol):
    """One client of the event stream, as cheap as can be: notes the ids that it is sent."""

    def __init__(self, token: str, host: str) -> None:
        self._asks = (
            f"GET /api/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        self._rest = b""
        self.began = asyncio.Event()
        self.ids: list[int] = []
        self.told = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._asks.encode())

    def data_received(self, data: bytes) -> None:
        """Take in whole lines."""
        lines, _, self._rest = (self._rest + data).rpartition(b"\n")
        if not self.began.is_set():
            assert lines.startswith(b"HTTP/1.1 200"), lines
            self.began.set()
        self.ids += map(int, _ID.findall(lines))
        self.told += lines.count(b"data: ")


async def _followed(pipe: Connection, host: str, port: int, tokens: list[str]) -> None:
    loop = asyncio.get_running_loop()
    followers = [Follower(tokens[n % len(tokens)], host) for n in range(FOLLOWERS)]
    opened = [
        (await loop.create_connection(partial(_same, follower), host, port))[0]
        for follower in followers
    ]
    await asyncio.gather(*[each.began.wait() for each in followers])
    pipe.send("all follow")
    last: int = await asyncio.to_thread(pipe.recv)
    await eventually(
        lambda: all(each.ids and each.ids[-1] >= last for each in followers),
        PATIENCE_S,
        what="the last message at every follower",
    )
    for transport in opened:
        transport.close()
    pipe.send([(each.ids, each.told) for each in followers])


def _same(follower: Follower) -> Follower:
    return follower


def _follow_all(pipe: Connection, host: str, port: int, tokens: list[str]) -> None:
    asyncio.run(_followed(pipe, host, port, tokens))


async def read(
    connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    asks: bytes,
    per_s: int,
    seconds: float,
) -> list[float]:
    """Ask at an even rate; return how long each answer took, in milliseconds, shortest first."""
    took_ms: list[float] = []
    began_s = time.perf_counter()

    async def one(due_s: float) -> None:
        reader, writer = connection = await connections.get()
        writer.write(asks)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = _LENGTH.search(head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
        connections.put_nowait(connection)
        took_ms.append((time.perf_counter() - due_s) * 1e3)

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * per_s)):
            due_s = began_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(one(due_s))
    return sorted(took_ms)


async def _read_all(pipe: Connection, address: str, asks: bytes, per_s: int) -> None:
    host, _, port = address.partition(":")
    connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        connections.put_nowait(await asyncio.open_connection(host, int(port)))
    await read(connections, asks, per_s, 1.0)  # warms up
    pipe.send(await read(connections, asks, per_s, MEASURED_S))


def _reader(pipe: Connection, address: str, asks: bytes, per_s: int) -> None:
    asyncio.run(_read_all(pipe, address, asks, per_s))


@asynccontextmanager
async def changing(client: httpx2.AsyncClient) -> AsyncIterator[list[int]]:
    """Deploy and delete all the while; yield what grows by one with each."""
    done: list[int] = []

    async def change() -> None:
        for number in range(1_000_000):
            due_s = time.perf_counter() + 1 / CHANGES_PER_S
            body = deploy_body(name=f"changing-{number}", replicas=1)
            answer = await client.post("/api/deployment/deploy", json=body)
            assert answer.status_code == 202, answer.text
            answer = await client.delete(f"/api/deployment/{answer.json()['deployment_id']}")
            assert answer.status_code == 202, answer.text
            done.append(number)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))

    task = asyncio.create_task(change())
    try:
        yield done
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@asynccontextmanager
async def _process(target: Any, *arguments: Any) -> AsyncIterator[Connection]:
    """Run a function in a process of its own, with a pipe to it."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(there, *arguments))
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)


async def _received(pipe: Connection) -> Any:
    async with asyncio.timeout(MEASURED_S + 2 * PATIENCE_S):
        return await asyncio.to_thread(pipe.recv)


class _World:
    """The services, and who uses them."""

    def __init__(self, services: ThreeServices, admin: str, user: str) -> None:
        self.services = services
        self.admin = admin
        self.user = user
        self.gateway = psutil.Process(services.pids["gateway"])
        self.address = services.addresses["http"]
        self.deployment_id = ""

    def client(self, token: str = "") -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {token or self.user}"}
        return httpx2.AsyncClient(
            base_url=f"http://{self.address}", headers=headers, timeout=60, trust_env=False
        )

    @property
    def _asks(self) -> bytes:
        return (
            f"GET /api/deployment/status/{self.deployment_id} HTTP/1.1\r\n"
            f"Host: {self.address}\r\nAuthorization: Bearer {self.user}\r\n\r\n"
        ).encode()

    async def measured(self, what: str, per_s: int) -> list[float]:
        """Read while deployments change; print and return the answers' times."""
        cpu = self.gateway.cpu_times()
        began_s = time.perf_counter()
        async with (
            self.client() as client,
            changing(client) as changes,
            _process(_reader, self.address, self._asks, per_s) as reader,
        ):
            took_ms: list[float] = await _received(reader)
        now = self.gateway.cpu_times()
        busy = (now.user + now.system - cpu.user - cpu.system) / (time.perf_counter() - began_s)
        print(
            f"{what}: {len(took_ms):,} reads, p50 {_percentile(took_ms, 50):.1f} ms, "
            f"p99 {_percentile(took_ms, 99):.1f} ms, longest {took_ms[-1]:.0f} ms; "
            f"{len(changes)} deployed and deleted; gateway {busy:.0%} of a core, "
            f"{self.gateway.memory_info().rss / 1e6:.0f} MB",
            flush=True,
        )
        return took_ms

    async def last_sequence(self) -> int:
        """Return the sequence of one more command, after which all is quiet."""
        async with self.services.log() as log:
            return await log.last_sequence()


async def _signed_in(http: httpx2.AsyncClient) -> str:
    await http.post("/api/users/register", json=_USER)
    answer = await http.post("/api/users/login", json=_USER)
    return str(answer.json()["access_token"])


def _check(heard: list[tuple[list[int], int]]) -> int:
    """Return how many messages came in all; every commit once, in order, to everybody."""
    for part in (0, 1):
        group = heard[part::2]
        since = max(ids[0] for ids, _ in group)
        seen = {tuple(number for number in ids if number > since) for ids, _ in group}
        assert len(seen) == 1, f"followers of one user were told {len(seen)} different things"
    for ids, _ in heard:
        assert all(one < next_ for one, next_ in pairwise(ids)), "messages repeated or out of order"
    return sum(told for _, told in heard)


async def measure(per_s: int) -> None:
    """Measure without followers, then with them, and print the ratio."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(nats_server())
        database = stack.enter_context(postgres_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fogbank-bench-")))
        url = await stack.enter_async_context(database.database())
        services = ThreeServices(broker, url, folder)
        stack.callback(services.kill)
        services.start()
        await services.ready()
        admin = await stack.enter_async_context(services.user())
        bearer = admin.metadata[0][1].removeprefix("Bearer ")
        world = _World(services, bearer, "")
        async with world.client(bearer) as http:
            world.user = await _signed_in(http)
        async with world.client() as http:
            answer = await http.post("/api/deployment/deploy", json=deploy_body(name="read"))
            world.deployment_id = answer.json()["deployment_id"]
        host, _, port = world.address.partition(":")
        baseline_ms = await world.measured("without followers", per_s)
        tokens = [world.admin, world.user]
        async with _process(_follow_all, host, int(port), tokens) as followers:
            assert await _received(followers) == "all follow"
            with_ms = await world.measured(f"with {FOLLOWERS:,} followers", per_s)
            followers.send(await world.last_sequence())
            told = _check(await _received(followers))
    floor_ms, p99_ms = _percentile(baseline_ms, 99), _percentile(with_ms, 99)
    print(
        f"{told:,} messages to {FOLLOWERS:,} followers, none missed, none twice; p99 of reads "
        f"{p99_ms - floor_ms:.0f} ms above the baseline, ratio {p99_ms / floor_ms:.1f}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.followers", description=__doc__)
    parser.add_argument("--reads", type=int, default=200, help="a second")
    given = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8_192), hard), hard))
    asyncio.run(measure(given.reads))


if __name__ == "__main__":
    main()
