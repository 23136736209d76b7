"""How fast a long log is read, checked, decided again and shown as it was.

The log is `bench.long_log`'s. It is put into a real broker, and projected by the real projector
into a real PostgreSQL; then, one after the other:

- project: the whole projection made anew from the log, as a ledger does whose database is lost;
- copy: `COPY` of all rows that projecting left, in its binary form, into tables like the ledger's
  with their keys and indexes; the ratio is project to copy (aim: a third);
- rebuild: the tables made again from the copy of the log, as `fog audit rebuild` does, beside those
  that answer, and compared with them; against the same `COPY`;
- read: the commits read from JetStream, as bytes, by the log's own reader;
- verify: the ledger's `VerifyLog`: log, copy, tree and digests compared commit by commit; it reads
  the commits twice, from either store, and hashes them once; the ratio is verify to read (aim:
  half);
- one then: one deployment, drawn at random, at a random commit after its creation, from the index
  (aim: 95 of 100 within 200 ms);
- node then: one node, drawn at random, at a random commit after its first handshake, likewise;
- list then: a hundred deployments of all there were at a random commit, by names, which lie all
  over the log (aim: as above); newest then: the hundred created last;
- nodes then: a hundred nodes at a random commit, from anywhere among their names;
- cluster then: the use and the counts of the cluster that holds everything;
- decide: every round derived again by the ledger's process from its copy (no floor but folding).

Rates are events a second. Beside the clock stands the CPU time of all processes that took part, and
its ratio: on a machine that others use it tells more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random

import asyncpg
import psutil

from bench.long_log import long_log, read_log
from fogbank.domain.views import Moment
from fogbank.log.follower import decode
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, connect
from fogbank.log.port import EventLog, StoredCommit
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from fogbank.runtime.garbage import spare_garbage_collection
from services.ledger.adapters.maintenance import rebuild
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from services.ledger.app.queries import LedgerQueries, Wait
from tests.support.ledger import READER, Ledger, StoredLog, a_running_ledger, rows_of
from tests.support.nats import nats_server
from tests.support.postgres import postgres_server

_NAME = StreamName()
_SINGLE, _LISTS, _PAGE = 200, 50, 100
# For a long log to be projected, on a machine with other work.
_PATIENCE_S = 3_600
_ROWS = (
    "commits",
    "tree_nodes",
    "commit_touches",
    "deployment_status_history",
    "deployments",
    "node_standings",
    "former_deployments",
    "cluster_history",
    "node_name_history",
    "node_use_history",
)
_CREATED = "SELECT id::text, min(position) >> 16 AS at FROM touches WHERE kind = 1 GROUP BY id"
_CONNECTED = "SELECT id::text, min(position) >> 16 AS at FROM touches WHERE kind = 6 GROUP BY id"


@dataclass
class Cost:
    """What something took: seconds on the clock, and of CPU time in all processes."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


class Costs:
    """Measures what this process, its children and the servers take."""

    def __init__(self, servers: Sequence[int]) -> None:
        """`servers` are the process ids of broker and postmaster."""
        self._servers = servers

    @asynccontextmanager
    async def of(self) -> AsyncIterator[Cost]:
        """Measure what happens in the context; the cost is known behind it."""
        cost = Cost()
        began_s, began_cpu_s = time.perf_counter(), self._cpu_s()
        yield cost
        cost.wall_s = time.perf_counter() - began_s
        cost.cpu_s = self._cpu_s() - began_cpu_s

    def _cpu_s(self) -> float:
        # Children that ended are counted with their parents, here and by the postmaster.
        total = 0.0
        for pid in (os.getpid(), *self._servers):
            process = psutil.Process(pid)
            children = process.children(recursive=True) if pid in self._servers else []
            for each in (process, *children):
                times = each.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
        return total


def figure(name: str, events: int, cost: Cost, floor: Cost | None = None) -> None:
    """Print a rate, and what part of its floor that is."""
    ratio = ""
    if floor is not None:
        ratio = f", ratio {floor.wall_s / cost.wall_s:.2f}, of CPU {floor.cpu_s / cost.cpu_s:.2f}"
    print(
        f"{name:<10} {cost.wall_s:>8.1f} s {events / cost.wall_s:>12,.0f} events/s, "
        f"{cost.cpu_s:.1f} s CPU{ratio}",
        flush=True,
    )


async def read_all(log: EventLog, last: int) -> None:
    """Read the whole log."""
    seen = 0
    async for batch in log.read(1, last):
        seen += len(batch)
    assert seen == last, seen


async def copied(url: str, costs: Costs) -> Cost:
    """Return what COPY of all rows of the projection takes, into tables like its own."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    rows = {}
    for table in _ROWS:
        rows[table] = BytesIO()
        await connection.copy_from_table(
            table, schema_name="public", output=rows[table], format="binary"
        )
        rows[table].seek(0)
    await connection.execute("CREATE SCHEMA floor")
    for table in _ROWS:
        await connection.execute(f"CREATE TABLE floor.{table} (LIKE public.{table} INCLUDING ALL)")
    async with costs.of() as cost:
        for table in _ROWS:
            await connection.copy_to_table(
                table, schema_name="floor", source=rows[table], format="binary"
            )
    await connection.execute("DROP SCHEMA floor CASCADE")
    await connection.close()
    return cost


async def rebuilt(url: str, costs: Costs) -> Cost:
    """Return what building the tables again takes, which must find nothing wrong."""
    async with costs.of() as cost:
        found = await rebuild(url, None, lambda *_: None)
    assert not any(found.differed.values()), found
    return cost


@dataclass
class BrokerLog(StoredLog):
    """The log in a broker."""

    connection: NatsConnection | None = None

    async def publish_all(self, commits: Sequence[StoredCommit]) -> None:
        """Append the commits as their writers did."""
        self.store.commits = list(commits)
        connection = self._connected()
        await ensure_stream(connection, _NAME, StreamSettings())
        handles = {
            writer: JetStreamLog(connection, _NAME, writer)
            for writer in {commit.writer for commit in commits}
        }
        for commit in commits:
            assert await handles[commit.writer].append(commit.data) == commit.sequence

    def _connected(self) -> NatsConnection:
        assert self.connection is not None
        return self.connection

    def reader(self) -> EventLog:
        """Return a handle to read by."""
        return JetStreamLog(self._connected(), _NAME, READER)


async def measure(commits: list[StoredCommit], events: int) -> None:
    """Run the benchmark and print its figures."""
    with nats_server(sync_always=False) as broker, postgres_server() as server:
        costs = Costs([broker.pid, server.pid])
        async with connect(broker.url, "bench") as connection:
            log = BrokerLog(connection=connection)
            await log.publish_all(commits)
            async with server.database() as url, AsyncExitStack() as running:
                async with costs.of() as project:
                    ledger = await running.enter_async_context(
                        a_running_ledger(url, log, patience_s=_PATIENCE_S)
                    )
                copy = await copied(url, costs)
                figure("copy", events, copy)
                figure("project", events, project, copy)
                figure("rebuild", events, await rebuilt(url, costs), copy)
                await verifying(ledger, log, events, costs)
                await asking(ledger, url, log.last)
                await deriving(ledger, events, costs)


async def verifying(ledger: Ledger, log: StoredLog, events: int, costs: Costs) -> None:
    """Read and check."""
    async with costs.of() as read:
        await read_all(log.reader(), log.last)
    figure("read", events, read)
    async with costs.of() as verify:
        async for part in ledger.answers.verification.verify(0, 0):
            assert not part.problem, part
    figure("verify", events, verify, read)


async def deriving(ledger: Ledger, events: int, costs: Costs) -> None:
    """Derive every round again."""
    rounds = 0
    async with costs.of() as cost:
        # The process that derives ends before its answer does, and is counted then.
        async for derived in ledger.answers.replays.rederive(0, 0):
            assert not derived.found, derived.found[:1]
            rounds += derived.same
    figure("decide", events, cost)
    print(f"           {rounds:,} rounds, {rounds / cost.cpu_s:,.0f} a second of CPU", flush=True)


async def asking(ledger: Ledger, url: str, last: int) -> None:
    """Ask for past states."""
    chance, queries = Random(1), ledger.answers.queries

    async def one(name: str, began: str, ask: Callable[[str, Moment], Awaitable[object]]) -> None:
        things = await rows_of(url, began)
        took: list[float] = []
        for each in [things[0], *chance.choices(things, k=_SINGLE)]:
            moment = Moment(chance.randint(each["at"], last))
            began_s = time.perf_counter()
            await ask(each["id"], moment)
            took.append(time.perf_counter() - began_s)
        shown(name, took[1:])  # the first one starts the process

    await one("one then", _CREATED, lambda id_, at: queries.deployment(id_, "", Wait(), at))
    await one("node then", _CONNECTED, lambda id_, at: queries.node(id_, Wait(), at))
    await listing(queries, chance, last)


async def listing(queries: LedgerQueries, chance: Random, last: int) -> None:
    """Ask for lists of the past, and for what a cluster used."""
    by_name = DeploymentFilter(limit=_PAGE, sort_by=DeploymentSort.NAME)
    asked: dict[str, Callable[[Moment], Awaitable[object]]] = {
        "list then": lambda then: queries.deployments(by_name, Wait(), then),
        "newest then": lambda then: queries.deployments(
            DeploymentFilter(limit=_PAGE), Wait(), then
        ),
        "nodes then": lambda then: queries.nodes(_PAGE, chance.randrange(_PAGE), Wait(), then),
        "cluster then": lambda then: queries.cluster_status(1, Wait(), then),
    }
    for name, ask in asked.items():
        took: list[float] = []
        for _ in range(_LISTS):
            moment = Moment(chance.randint(2, last))
            began_s = time.perf_counter()
            await ask(moment)
            took.append(time.perf_counter() - began_s)
        shown(name, took)


def shown(name: str, took_s: list[float]) -> None:
    """Print how long questions took."""
    took = sorted(took_s)
    p50_ms, p95_ms = (took[len(took) * part // 100] * 1e3 for part in (50, 95))
    print(f"{name:<12} p50 {p50_ms:,.1f} ms, p95 {p95_ms:,.1f} ms of {len(took)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--file", type=Path, help="a log that `bench.long_log` kept")
    parser.add_argument("--brief", action="store_true", help="a log of 50,000 events")
    chosen = parser.parse_args(arguments)
    spare_garbage_collection()
    if chosen.file is not None:
        commits = list(read_log(chosen.file))
    else:
        wanted = 50_000 if chosen.brief else chosen.events
        commits = list(long_log(wanted, nodes=chosen.nodes))
    events = sum(len(decode(commit).envelopes) for commit in commits)
    size = sum(len(commit.data) for commit in commits)
    print(f"{events:,} events in {len(commits):,} commits, {size / 1e6:.1f} MB", flush=True)
    asyncio.run(measure(commits, events))


if __name__ == "__main__":
    main()
