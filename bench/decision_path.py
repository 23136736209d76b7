"""From the log to the tables: how many deployments a second are durably decided and projected.

A real broker that syncs each append, a real PostgreSQL, a scheduler and a ledger as processes; no
gateway and no agents. Deployments of three replicas come in commits of many, as a gateway's group
commit makes them; the generator shares the machine.

- floors: what the same broker takes of one event to an append, each durable before it is confirmed,
  `one by one`, each published when the one before is confirmed, and `in flight`, 256 at once, as
  many as a commit of this benchmark has events;
- path: all that were submitted, divided by the time until the last stands in the tables as
  scheduled; against the floors both in deployments and in what single appends would take four of
  for each, its command and its three placements; CPU time per deployment of each process, and what
  encoding them took before, which is always the same work: by it runs on a machine whose speed
  varies can be compared;
- at a steady rate: the time from the append to the tables.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import asyncpg
import nats
import psutil

from bench.placement_fleet import CPU, MEMORY, STORAGE, asks
from fogbank.codec import decode_commit, encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, EventEnvelope
from fogbank.domain.policy import Policy
from fogbank.log.jetstream import JetStreamLog
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.nats import NatsServer, nats_server
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.three_services import ThreeServices
from tests.support.waiting import eventually

PER_COMMIT = 256
REPLICAS = 3
# What one event to an append would append for a deployment: the command and each placement.
EVENTS = 1 + REPLICAS
FLOOR_APPENDS = 1_024
FLOOR_EVENT = b"x" * 300
STEP_S = 0.01
LONGEST_S = 300.0


class DecisionPath:
    """The processes, a writer's handle on the log, and a connection to the tables."""

    def __init__(
        self, services: ThreeServices, log: JetStreamLog, tables: asyncpg.Connection
    ) -> None:
        self.services = services
        self.log = log
        self.tables = tables
        self._names = 0

    def encoded(self, events: list[ev.Event]) -> list[bytes]:
        """Return facts as a commit holds them."""
        now_us = time.time_ns() // 1_000
        envelopes = []
        for event in events:
            self._names += 1
            envelope = EventEnvelope(
                an_id(f"event {self._names}"), event, "bench/1", "user/1", now_us
            )
            envelopes.append(encode_envelope(envelope))
        return envelopes

    async def append(self, envelopes: list[bytes]) -> int:
        """Append encoded facts as one commit."""
        return await self.log.append(encode_commit(time.time_ns() // 1_000, envelopes))

    async def connect_nodes(self, count: int) -> None:
        """Let nodes shake hands; they are taken for alive without heartbeats for an hour."""
        policy = replace(Policy(), version=2, heartbeat_period_ms=1_800_000)
        await self.append(self.encoded([ev.PolicyActivated(policy)]))
        hosts: list[ev.Event] = [
            ev.NodeConnected(
                an_id(f"fog-{number}"),
                f"fog-{number}",
                a_fingerprint(cpu=CPU, memory=MEMORY, storage=STORAGE),
            )
            for number in range(count)
        ]
        for first in range(0, count, PER_COMMIT):
            await self.append(self.encoded(hosts[first : first + PER_COMMIT]))
        await self.projected(await self.log.last_sequence())

    async def position(self) -> int:
        """Return how far the tables are."""
        return int(await self.tables.fetchval("SELECT position FROM checkpoint"))

    async def projected(self, sequence: int) -> None:
        """Wait until the tables are so far."""

        async def reached() -> bool:
            return await self.position() >= sequence

        await eventually(reached, LONGEST_S, what=f"commit {sequence} in the tables")

    async def scheduled(self) -> int:
        """Return how many deployments the tables show as scheduled."""
        return int(
            await self.tables.fetchval("SELECT count(*) FROM deployments WHERE exact_status = 2")
        )


@asynccontextmanager
async def a_path(broker: NatsServer, database: PostgresServer) -> AsyncIterator[DecisionPath]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fogbank-bench-")))
        url = await stack.enter_async_context(database.database())
        services = ThreeServices(broker, url, folder)
        stack.callback(services.kill)
        services.start("ledger", "scheduler")
        for name in ("ledger", "scheduler"):

            async def well(service: str = name) -> bool:
                return await services.serving(service)

            await eventually(well, LONGEST_S, what=f"the {name}")
        log = await stack.enter_async_context(services.log())
        tables = await asyncpg.connect(url.replace("+asyncpg", ""))
        stack.push_async_callback(tables.close)
        yield DecisionPath(services, log, tables)


class Floors(NamedTuple):
    """Appends a second of one event each, each on disk when it is confirmed."""

    one_by_one: float
    in_flight: float


async def floor_rates(broker: NatsServer) -> Floors:
    """Return what the broker takes of one event to an append."""
    connection = await nats.connect(broker.url)
    stream = connection.jetstream()
    await stream.add_stream(name="FLOOR", subjects=["floor"])

    async def rate(at_once: int) -> float:
        began_s = time.perf_counter()
        for _ in range(0, FLOOR_APPENDS, at_once):
            await asyncio.gather(*[stream.publish("floor", FLOOR_EVENT) for _ in range(at_once)])
        return FLOOR_APPENDS / (time.perf_counter() - began_s)

    rates = Floors(await rate(1), await rate(PER_COMMIT))
    await connection.close()
    return rates


def cpu_s(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds that processes and their children took so far."""
    spent = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if name == "database" else [process]
        times = [one.cpu_times() for one in family]
        spent[name] = sum(one.user + one.system for one in times)
    return spent


async def all_at_once(path: DecisionPath, pids: dict[str, int], count: int, floors: Floors) -> None:
    """Submit as fast as the log takes it, and wait for the last one in the tables."""
    created: list[ev.Event] = [
        ev.DeploymentCreated(spec, an_id("owner")) for spec in asks(count, REPLICAS)
    ]
    generating_s = time.process_time()
    commits = [
        path.encoded(created[first : first + PER_COMMIT]) for first in range(0, count, PER_COMMIT)
    ]
    generating_s = time.process_time() - generating_s
    before, wanted = cpu_s(pids), await path.scheduled() + count
    began_s = time.perf_counter()
    for envelopes in commits:
        await path.append(envelopes)

    async def all_there() -> bool:
        await asyncio.sleep(0.05)
        # Counting takes the database some milliseconds, so not before the tables have the log.
        if await path.position() < await path.log.last_sequence():
            return False
        return await path.scheduled() >= wanted

    await eventually(all_there, LONGEST_S, what="the last deployment")
    took_s = time.perf_counter() - began_s
    after = cpu_s(pids)
    rate = count / took_s
    spent = "  ".join(
        f"{name} {(after[name] - before[name]) / count * 1e6:,.0f} us" for name in pids
    )
    print(
        f"{count} deployments of {REPLICAS} replicas: {rate:,.0f} deployments/s, "
        f"{rate * REPLICAS:,.0f} replicas/s\n"
        f"times the floor of {floors.one_by_one:,.0f} appends/s one by one: deployments "
        f"{rate / floors.one_by_one:.1f}, commands and placements "
        f"{rate * EVENTS / floors.one_by_one:.1f}; of {floors.in_flight:,.0f} in flight: "
        f"{rate / floors.in_flight:.1f}, {rate * EVENTS / floors.in_flight:.1f}\n"
        f"CPU per deployment: {spent}; generated before in {generating_s / count * 1e6:,.0f} us",
        flush=True,
    )


async def steady(path: DecisionPath, rate: int, seconds: int) -> None:
    """Submit at a steady rate; print how long until the tables show the decision."""
    per_step = max(round(rate * STEP_S), 1)
    created: list[ev.Event] = [
        ev.DeploymentCreated(spec, an_id("owner")) for spec in asks(per_step, REPLICAS)
    ]
    submitted: dict[int, float] = {}
    waiting: dict[int, list[float]] = {}
    took_ms: list[float] = []
    start = await path.log.last_sequence()

    async def follow() -> None:
        """Learn by which round each commit of deployments was decided."""
        async with aclosing(path.log.follow(start)) as batches:
            async for batch in batches:
                for stored in batch:
                    if stored.writer.service != SCHEDULER:
                        continue
                    commit = decode_commit(stored.sequence, SCHEDULER, "s", stored.data)
                    event = commit.envelopes[0].event
                    assert isinstance(event, ev.RoundDecided)
                    decided = [one for one in submitted if one <= event.facts_to]
                    waiting.setdefault(stored.sequence, []).extend(map(submitted.pop, decided))

    async def watch() -> None:
        while True:
            position = await path.position()
            now_s = time.perf_counter()
            for sequence in [one for one in waiting if one <= position]:
                took_ms.extend((now_s - began_s) * 1_000 for began_s in waiting.pop(sequence))
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(follow()), asyncio.create_task(watch())]
    begin_s = time.perf_counter()
    for step in range(round(seconds / STEP_S)):
        await asyncio.sleep(max(begin_s + step * STEP_S - time.perf_counter(), 0))
        now_s = time.perf_counter()
        submitted[await path.append(path.encoded(created))] = now_s
    spent_s = time.perf_counter() - begin_s
    await eventually(lambda: not submitted and not waiting, LONGEST_S, what="the last decision")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    took_ms.sort()
    print(
        f"at {per_step * round(seconds / STEP_S) / spent_s:,.0f} a second, from submission to the "
        f"tables: p50 {took_ms[len(took_ms) // 2]:.1f} ms  "
        f"p99 {took_ms[len(took_ms) * 99 // 100]:.1f} ms",
        flush=True,
    )


async def measure(given: argparse.Namespace) -> None:
    with nats_server() as broker, postgres_server() as database:
        async with a_path(broker, database) as path:
            await path.connect_nodes(given.nodes)
            floors = await floor_rates(broker)
            pids = {
                **path.services.pids,
                "database": database.pid,
                "broker": broker.pid,
                "generator": psutil.Process().pid,
            }
            await all_at_once(path, pids, given.count // 4, floors)
            await all_at_once(path, pids, given.count, floors)
            await steady(path, given.rate, given.seconds)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=1_000, help="deployments a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--brief", action="store_true", help="fewer nodes and deployments")
    given = parser.parse_args(arguments)
    if given.brief:
        given.nodes, given.count, given.seconds = 2_000, 4_000, 3
    asyncio.run(measure(given))


if __name__ == "__main__":
    main()
